# Runs on the device for as long as the connection lives: claims it, and ends with it. POSIX sh, also busybox's.
# Given: base (our folder, may begin with ~/), owner (one word), needs (programs), evict (a keeper's number, or nothing),
#        pause (seconds between two words)
# Reads on stdin: `beat` after every pause; `forget` or `keep` at the end. Twelve silent pauses are an end, too.

umask 077
case $base in "~/"*) base=$HOME/${base#"~/"} ;; esac
parent=${base%/*} work=$base/work lock=$base/lock
[ -d "$parent" ] && is_new= || is_new=1
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid 2>/dev/null)
boot=${boot:--}

say() { printf 'edgedistill %s\n' "$*"; }

each_group() { # signal: sent to every process group that runs for us; true when there is one
    found=1
    for file in "$work.ended"/groups/*; do
        [ -e "$file" ] && kill "-$1" "-${file##*.}" 2>/dev/null && found=0
    done
    return $found
}

end_groups() {
    each_group TERM || return 0
    turn=0
    while each_group 0 && [ $turn -lt 15 ]; do
        sleep 0.2 2>/dev/null || sleep 1
        turn=$((turn + 1))
    done
    each_group KILL
}

end_work() { # first so that nothing begins there any more
    end_groups
    [ -d "$work" ] && rm -rf "$work.ended" && mv "$work" "$work.ended"
    end_groups
    rm -rf "$work.ended"
}

forget_numbers() { # of process groups from before a restart: they are somebody else's now
    for old in "$work" "$work.ended"; do
        [ "$boot" != - ] && [ "$(cat "$old/boot" 2>/dev/null)" = "$boot" ] || rm -rf "$old/groups"
    done
}

leave() { # forget: remove what was pushed, too
    trap '' HUP INT TERM PIPE
    end_work
    [ "$1" = forget ] && rm -rf "$base/files"
    rm -f "$lock" "$lock".*
    [ -e "$base/.parent" ] && [ ! -e "$base/files" ] && is_new=1 && rm -f "$base/.parent"
    rmdir "$base" 2>/dev/null && [ "$is_new" ] && rmdir "$parent" 2>/dev/null
    say left
    kill -TERM "-$$" 2>/dev/null # the watcher and its sleep; we ignore it
    exit 0
}

is_held() { # lock: whether the keeper that it names still lives
    read -r holder since rest <"$1" || return 1
    [ "$since" = "$boot" ] && kill -0 "$holder" 2>/dev/null || return 1
    [ ! -r "/proc/$holder/cmdline" ] || grep -q edgedistill "/proc/$holder/cmdline"
}

# QEMU's user mode hides itself only from a process that asks for itself; grep asks for another one. Its machines are
# called so, also those that KVM runs at full speed: that leaves a sign on x86.
is_emulated() {
    grep -q /qemu- "/proc/$$/maps" 2>/dev/null && return
    grep -q kvm-clock /sys/devices/system/clocksource/clocksource0/available_clocksource 2>/dev/null && return 1
    grep -q dummy-virt /proc/device-tree/compatible 2>/dev/null || grep -q QEMU /sys/class/dmi/id/sys_vendor 2>/dev/null
}

read -r stat 2>/dev/null </proc/$$/stat && set -- ${stat##*") "}
case ${3:-0} in 0 | $$) ;; *) say lacks setsid; exit 0 ;; esac # without a group of our own there is no ending it
for program in $needs; do
    command -v "$program" >/dev/null || { say lacks "$program"; exit 0; }
done
mkdir -p "$base" || { say unusable "$base"; exit 0; }
if [ "$is_new" ]; then true >"$base/.parent" || { say unusable "$base"; exit 0; }; fi # a later run may be the last one
if [ -n "$evict" ] && is_held "$lock" && [ "$holder" = "$evict" ]; then
    kill -KILL "-$evict" "$evict" 2>/dev/null
    sleep 1
fi
if [ -e "$lock" ]; then
    [ -s "$lock" ] || sleep 1 # just being written, or left empty by a kill
    if is_held "$lock"; then say busy "$holder" "$rest"; exit 0; fi
    mv "$lock" "$lock.$$" 2>/dev/null # looked at once more: another one may have just taken its place
    if is_held "$lock.$$" 2>/dev/null; then mv "$lock.$$" "$lock"; say busy "$holder" "$rest"; exit 0; fi
    rm -f "$lock.$$"
fi
(set -C && echo "$$ $boot $owner" >"$lock") || {
    if [ -e "$lock" ] && is_held "$lock"; then say busy "$holder" "$rest"; else say unusable "$base"; fi
    exit 0
}
forget_numbers
end_work # of a keeper that was killed
mkdir -p "$work/groups" && echo "$boot" >"$work/boot" || { say unusable "$base"; leave keep; }
[ -d "$base/files" ] && had=files || had=none
kernel=$(cat /proc/sys/kernel/arch 2>/dev/null) # since Linux 6.1; an emulator shows its own in `uname -m` only
is_emulated && kernel=qemu
say ready "$boot" $had "$(uname -m)" "${kernel:--}" "$base"

watch() {
    silent=0
    trap 'silent=0' USR1
    while sleep "$pause"; do
        silent=$((silent + 1))
        if [ $silent -gt 12 ] || ! kill -0 $$ 2>/dev/null; then
            kill -KILL $$ 2>/dev/null
            leave keep
        fi
    done
}
watch &
watcher=$!
word=
while read -r word; do
    case $word in
    beat) kill -USR1 $watcher 2>/dev/null ;;
    forget | keep) break ;;
    esac
done
leave "$word"
