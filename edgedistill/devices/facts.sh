# What a device tells of itself, as records: 0x1e, name, newline, text. POSIX sh.
tell() { printf '\036%s\n%s' "$1" "$2"; }
file() { cat "$1" 2>/dev/null | tr -d '\000'; }
cpu=/sys/devices/system/cpu

tell machine "$(uname -m)"
tell kernel "$(uname -sr)"
tell system "$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
model=$(file /proc/device-tree/model)
[ "$model" ] || model=$(getprop ro.product.model 2>/dev/null)
[ "$model" ] || model=$(file /sys/class/dmi/id/product_name)
[ "$model" ] || model=$(sysctl -n hw.model 2>/dev/null)
tell model "$model"
tell cpu "$(sysctl -n machdep.cpu.brand_string 2>/dev/null)"
tell cores "$(unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
tell ram "$(sysctl -n hw.memsize 2>/dev/null)"
tell disk "$(df -Pk . | tail -n 1)"
tell governor "$(file $cpu/cpu0/cpufreq/scaling_governor)"
tell max_khz "$(for core in $cpu/cpu[0-9]*; do file "$core/cpufreq/cpuinfo_max_freq"; done)"
tell boot_id "$(file /proc/sys/kernel/random/boot_id)"
tell cpuinfo "$(file /proc/cpuinfo)"
tell meminfo "$(file /proc/meminfo)"
