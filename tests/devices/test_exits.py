"""Words of Linux' kernel about a lack of memory, as `dmesg` prints them."""

from __future__ import annotations

from edgedistill.devices.exits import out_of_memory

CHROMIUM = "[  103.500000] Out of memory: Killed process 812 (chromium) total-vm:9000kB, anon-rss:8000kB"
SERVER = "[90000.250000] Out of memory: Killed process 4711 (llama-server) total-vm:9000kB, anon-rss:8000kB"
GROUP = "[90000.2] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task_memcg=/a,task=llama-server,pid=4711,uid=0"
INVOKED = "[90000.2] llama-server invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0"


def test_the_kernels_words_about_this_program_are_found():
    assert out_of_memory(f"{CHROMIUM}\n{SERVER}\n[90001.0] usb 1-1: new device", "llama-server", 90005) == SERVER
    assert out_of_memory(GROUP, "llama-server", 90005) == GROUP
    assert out_of_memory("lowmemorykiller: Killing 'llama-server' (4711)", "llama-server", 90005)


def test_another_program_and_another_day_are_no_cause():
    assert out_of_memory(CHROMIUM, "llama-server", 110) is None
    assert out_of_memory(SERVER, "llama-server", 90000 + 3 * 86400) is None
    assert out_of_memory(SERVER.replace("llama-server", "llama-server-2"), "llama-server", 90005) is None


def test_who_asked_for_memory_need_not_be_who_was_killed():
    assert out_of_memory(f"{INVOKED}\n{CHROMIUM}", "llama-server", 90005) is None


def test_the_kernel_keeps_15_letters_of_a_name():
    line = "Memory cgroup out of memory: Killed process 4711 (a-long-name-tha) total-vm:9000kB"
    assert out_of_memory(line, "a-long-name-that-goes-on", 90005) == line
