"""A target's YAML from the facts that a device tells of itself: /proc/cpuinfo, /proc/meminfo, sysfs, a copy test.

Facts come as one plain record, so that any transport can bring them: the files' texts and a few numbers.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MIB = 1024 * 1024

_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd05": "Cortex-A55", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd42": "Cortex-A78AE",
    "0xd41": "Cortex-A78", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4",
}  # fmt: skip
"""`CPU part` of cores by Arm (implementer 0x41), from Arm's technical reference manuals."""
_SMALL = {"Cortex-A53", "Cortex-A55", "Cortex-A510", "Cortex-A520"}
_LANES = {"Cortex-A53": 0.5, "Cortex-A55": 1.0, "Cortex-A72": 1.0}
_FEATURES = {
    "asimddp": "dotprod", "asimdhp": "fp16", "i8mm": "i8mm", "bf16": "bf16", "sve2": "sve2", "avx2": "avx2",
    "avx_vnni": "avx_vnni", "avx512_vnni": "avx512_vnni", "avx512f": "avx512f",
}  # fmt: skip
"""As the kernel names them -> as a target does."""


@dataclass(frozen=True)
class Facts:
    """What was read on the device."""

    cpuinfo: str
    meminfo: str
    machine: str
    """`uname -m`"""
    max_khz: tuple[int, ...] = ()
    """Highest clock of each core, from cpufreq; empty where the system does not tell."""
    copy_gb_s: float | None = None
    how: str = "local"
    """Where it was read, for the sources."""


def this_machine() -> Facts:
    """Of the machine that this runs on."""
    clocks = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq"))
    return Facts(
        cpuinfo=_text(Path("/proc/cpuinfo")),
        meminfo=_text(Path("/proc/meminfo")),
        machine=platform.machine(),
        max_khz=tuple(int(_text(path) or 0) for path in clocks),
        copy_gb_s=copy_rate(),
    )


def copy_rate(size: int = 64 * MIB, rounds: int = 6) -> float:
    """memcpy of one thread, GB/s: the best of a few copies of a block that no cache holds."""
    source, goal = bytearray(os.urandom(1024)) * (size // 1024), bytearray(size)
    best = 0.0
    for _ in range(rounds):
        begun = time.perf_counter()
        goal[:] = source
        best = max(best, size / (time.perf_counter() - begun) / 1e9)
    return best


def draft(facts: Facts) -> str:
    """The YAML. What the device did not tell is left as a comment that says what to write."""
    today = datetime.now(UTC).date().isoformat()
    source = f"measured by `edgedistill targets new`, {facts.how}, {today}"
    cores, features = _cores(facts), _features(facts)
    big = [kind for kind, _, _ in cores if kind not in _SMALL] or [kind for kind, _, _ in cores]
    lines = [
        "# Drafted from the device itself; look through it, and name the file after the device.",
        f"title: {_model(facts)}",
        f"soc: {', '.join(f'{count}x {kind}' for kind, count, _ in cores)}",
        f"kind: {'x86' if facts.machine == 'x86_64' else 'board'}",
        f"triple: {'x86_64' if facts.machine == 'x86_64' else facts.machine}-linux-musl",
        "cpu: native  # the compiler's name of the CPU, for building elsewhere, e.g. cortex_a76",
        f"threads: {sum(count for kind, count, _ in cores if kind in big)}",
        "cores:",
    ]
    for kind, count, ghz in cores:
        clock = f"{ghz:.2f}" if ghz else "1.0"
        note = "" if ghz else "  # the system does not tell the clock: write it"
        small = "" if kind in big else ", big: false"
        lanes = _LANES.get(kind, 2.0)
        lines += [
            f'  - {{type: "{kind}", count: {count}, ghz: {clock}, lanes: {lanes}{small}, source: "{source}"}}{note}'
        ]
    lines += [
        f'isa: {{features: [{", ".join(features)}], source: "{source}"}}',
        f'ram_mib: {{value: {_memory(facts, "MemTotal")}, source: "{source}"}}',
        f'usable_ram_mib: {{value: {_memory(facts, "MemAvailable")}, source: "{source}"}}',
    ]
    if facts.copy_gb_s:
        lines.append(f'copy_gb_s: {{value: {facts.copy_gb_s:.1f}, source: "{source}"}}')
    lines += [
        "# peak_gb_s: {value: …, source: …}   bus width in bytes times transfers per second",
        "budgets: {first_token_ms: 1500, decode_tok_s: 8, memory_mib: 1024, package_mib: 512, accuracy_drop: 0.02}",
        "default_recipe: quickstart",
    ]
    return "\n".join(lines) + "\n"


def _cores(facts: Facts) -> list[tuple[str, int, float]]:
    """Type, count and highest GHz, the biggest clock first."""
    kinds = [_ARM_PARTS.get(part, f"part {part}") for part in re.findall(r"CPU part\s*:\s*(\w+)", facts.cpuinfo)]
    if not kinds:
        # Threads of one core count once.
        pairs = set(zip(re.findall(r"physical id\s*:\s*(\d+)", facts.cpuinfo),
                        re.findall(r"core id\s*:\s*(\d+)", facts.cpuinfo), strict=False))  # fmt: skip
        count = len(pairs) or len(re.findall(r"^processor\s*:", facts.cpuinfo, re.MULTILINE)) or 1
        kinds = [_model(facts)] * count
    clocks = facts.max_khz if len(facts.max_khz) >= len(kinds) else (0,) * len(kinds)
    fastest = {kind: max(khz for k, khz in zip(kinds, clocks, strict=False) if k == kind) / 1e6 for kind in kinds}
    return sorted(((k, n, fastest[k]) for k, n in Counter(kinds).items()), key=lambda core: -core[2])


def _features(facts: Facts) -> list[str]:
    line = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", facts.cpuinfo, re.MULTILINE)
    named = set(line[1].split()) if line else set()
    found = [ours for theirs, ours in _FEATURES.items() if theirs in named]
    return found or ["neon" if facts.machine.startswith(("aarch64", "arm")) else "sse"]


def _model(facts: Facts) -> str:
    found = re.search(r"^(?:Model|model name)\s*:\s*(.+)$", facts.cpuinfo, re.MULTILINE)
    return re.sub(r"[:#{}\[\],]", " ", found[1]).strip() if found else facts.machine


def _memory(facts: Facts, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", facts.meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 1


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
