"""What a device tells of itself, read by one shell script (facts.sh)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.target_draft import ARM_PARTS
from edgedistill.toolchain import instructions

SCRIPT = Path(__file__).with_name("facts.sh").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Facts:
    """None, or empty, where the device does not tell."""

    machine: str
    """`uname -m`: aarch64, x86_64, …"""
    kernel: str | None = None
    """System and release, e.g. `Linux 6.6.31`."""
    system: str | None = None
    """As the distribution calls itself."""
    model: str | None = None
    """As the maker calls it, e.g. `Raspberry Pi 5 Model B Rev 1.0`."""
    cpu: str | None = None
    cpu_features: tuple[str, ...] = ()
    """Of every core, as the kernel names them. Empty under an emulator, whose /proc/cpuinfo is of another processor."""
    cores: int | None = None
    """That this user may use."""
    ram_bytes: int | None = None
    available_bytes: int | None = None
    """Of memory, now."""
    disk_free_bytes: int | None = None
    """Where the work folder lies, now."""
    governor: str | None = None
    """Of the first core's clock, now."""
    max_khz: tuple[int, ...] = ()
    """Highest clock of each core."""
    boot_id: str | None = None
    cpuinfo: str = ""
    """/proc/cpuinfo, less the board's serial number."""
    meminfo: str = ""
    """/proc/meminfo, whole."""

    def conditions(self, where: str) -> dict[str, Any]:
        """What is written beside a measurement; `where` is the transport."""
        return {
            "where": where,
            "machine": self.machine,
            "model": self.model,
            "cpu": self.cpu or self.machine,
            "cores": self.cores,
            "ram_mib": self.ram_bytes and round(self.ram_bytes / 2**20),
            "kernel": self.kernel,
            "governor": self.governor,
        }


def parse(out: str) -> Facts:
    """Facts from what facts.sh printed."""
    told = dict(record.partition("\n")[::2] for record in out.split("\x1e")[1:])
    told = {name: text.strip() for name, text in told.items()}
    # A board's serial number is nobody's business: facts go onto tapes and into reports.
    cpuinfo = re.sub(r"^Serial\s*:.*\n?", "", told.get("cpuinfo", ""), flags=re.MULTILINE)
    meminfo = told.get("meminfo", "")
    machine = told.get("machine") or "unknown"
    return Facts(
        machine=machine,
        kernel=told.get("kernel") or None,
        system=told.get("system") or None,
        model=told.get("model") or None,
        cpu=told.get("cpu") or _cpu(cpuinfo),
        cpu_features=tuple(sorted(instructions.of_every_core(machine, cpuinfo))),
        cores=_number(told.get("cores")),
        ram_bytes=_number(told.get("ram")) or _kib(meminfo, "MemTotal"),
        available_bytes=_kib(meminfo, "MemAvailable"),
        disk_free_bytes=free_bytes(told.get("disk", "")),
        governor=told.get("governor") or None,
        max_khz=tuple(int(khz) for khz in told.get("max_khz", "").split() if khz.isdecimal()),
        boot_id=told.get("boot_id") or None,
        cpuinfo=cpuinfo,
        meminfo=meminfo,
    )


def _cpu(cpuinfo: str) -> str | None:
    """`4x Cortex-A76` where cores have a part number, else as the maker calls the chip."""
    parts = Counter(re.findall(r"^CPU part\s*:\s*(\w+)", cpuinfo, re.MULTILINE))
    if parts:
        return ", ".join(f"{count}x {ARM_PARTS.get(part, f'part {part}')}" for part, count in parts.items())
    named = re.search(r"^(?:model name|Model|Hardware|cpu model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return named[1].strip() if named else None


def _kib(meminfo: str, name: str) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def free_bytes(line: str) -> int | None:
    """From the last line of `df -Pk`: the number before the percentage, wherever names hold spaces."""
    found = re.search(r"(\d+)\s+\d+%", line)
    return int(found[1]) * 1024 if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
