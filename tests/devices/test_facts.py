"""Facts from what devices print. The texts are excerpts as the kernels of a Raspberry Pi 5 and a PC print them."""

from __future__ import annotations

from edgedistill.devices import facts

PI = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd asimddp
CPU part\t: 0xd0b

processor\t: 2
CPU part\t: 0xd99

Serial\t\t: 1000000012345678
Model\t\t: Raspberry Pi 5 Model B Rev 1.0"""


def told(**records: str) -> str:
    return "noise" + "".join(f"\x1e{name}\n{text}" for name, text in records.items())


def test_a_board():
    found = facts.parse(
        told(
            machine="aarch64", kernel="Linux 6.6.31+rpt-rpi-2712", model="Raspberry Pi 5 Model B Rev 1.0\n", cores="4",
            disk="/dev/mmcblk0p2 61185096 8123456 50521004  14% /home/pi x", governor="ondemand",
            max_khz="2400000\n2400000", cpuinfo=PI, meminfo="MemTotal:        8245568 kB\nMemAvailable:    7600000 kB",
        )
    )  # fmt: skip
    assert found.cpu == "2x Cortex-A76, 1x part 0xd99"
    assert found.cpu_features == ("asimd", "asimddp", "fp"), "what every core has"
    assert found.cores == 4
    assert "12345678" not in found.cpuinfo and found.cpuinfo.endswith("Model B Rev 1.0")
    assert found.ram_bytes == 8245568 * 1024 and found.available_bytes == 7600000 * 1024
    assert found.disk_free_bytes == 50521004 * 1024
    assert found.max_khz == (2400000, 2400000)
    assert found.conditions("ssh") == {
        "where": "ssh", "machine": "aarch64", "model": "Raspberry Pi 5 Model B Rev 1.0",
        "cpu": "2x Cortex-A76, 1x part 0xd99", "cores": 4, "ram_mib": 8052, "kernel": "Linux 6.6.31+rpt-rpi-2712",
        "governor": "ondemand",
    }  # fmt: skip


def test_what_a_device_does_not_tell_is_none():
    found = facts.parse(told(machine="armv7l", kernel="", disk="df: no", cpuinfo="model name\t: ARMv7 rev 4\n"))
    assert (found.machine, found.cpu) == ("armv7l", "ARMv7 rev 4")
    assert {found.kernel, found.cores, found.ram_bytes, found.disk_free_bytes, found.governor, found.model} == {None}
    assert found.cpu_features == () and found.max_khz == ()


def test_a_mac_tells_by_other_ways():
    found = facts.parse(told(machine="arm64", cpu="Apple M2", ram="17179869184", cores="8", meminfo=""))
    assert (found.cpu, found.ram_bytes, found.available_bytes) == ("Apple M2", 16 * 2**30, None)


def test_a_name_with_spaces_does_not_hide_the_free_room():
    assert facts.free_bytes("my nas:/vol 1 2000 500 1500 25% /mnt/a b") == 1500 * 1024
    assert facts.free_bytes("nothing") is None
