"""A target's YAML from the facts that a device tells of itself: /proc/cpuinfo, /proc/meminfo, sysfs, a copy test.

Facts come as every transport brings them (devices/facts.py).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgedistill.devices.facts import Facts

MIB = 1024 * 1024

ARM_PARTS = {
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
_WITH_SVE = {"Cortex-A510", "Cortex-A710", "Cortex-A715", "Cortex-X3", "Cortex-A520", "Cortex-A720", "Cortex-X4"}
"""Armv9: their compiler's name stands for SVE2, too."""
_V2 = {"sse4_2", "popcnt"}
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma"}
_LEVELS = (
    ("x86_64_v4", _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86_64_v3", _V3), ("x86_64_v2", _V2),
)  # fmt: skip
"""The psABI's levels, by what toolchain/instructions.py knows of each."""
_ARM64 = {"arm64": "aarch64", "armv8l": "aarch64"}
_NO_NAMES = {"To Be Filled By O.E.M.", "System Product Name", "Default string", "Not Specified"}
"""What a mainboard calls itself when nobody named it."""


def copy_rate(size: int = 64 * MIB, rounds: int = 20) -> float:
    """memcpy of one thread, GB/s: the best of several copies of a block that no cache holds.

    They are spread over a second or more: what others do in one moment must not meet all of them.
    """
    source, goal = bytearray(os.urandom(1024)) * (size // 1024), bytearray(size)
    best = 0.0
    for _ in range(rounds):
        time.sleep(0.05)
        begun = time.perf_counter()
        goal[:] = source
        best = max(best, size / (time.perf_counter() - begun) / 1e9)
    return best


def draft(facts: Facts, how: str, copy_gb_s: float | None = None, busy: str = "") -> str:
    """The YAML. What the device did not tell is left as a comment that says what to write.

    how        where it was read, for the sources: `ssh`
    copy_gb_s  from the copy test, where that was run
    busy       what others did meanwhile, if it was much
    """
    source = f"measured by `edgedistill targets new`, {how}, {datetime.now(UTC).date().isoformat()}"
    cores, features = _cores(facts), _features(facts)
    big = [kind for kind, _, _ in cores if kind not in _SMALL] or [kind for kind, _, _ in cores]
    kind, triple = _platform(facts, how)
    lines = [
        "# Drafted from the device itself; look through it, and name the file after the device.",
        f"title: {_quoted(_title(facts))}",
        f"soc: {_quoted(', '.join(f'{count}x {name}' for name, count, _ in cores))}",
        f"kind: {kind}",
        f"triple: {triple}",
        f"cpu: {_cpu(facts, big[0], features)}",
        f"threads: {sum(count for name, count, _ in cores if name in big)}",
        "cores:",
        *(_core_line(name, count, name in big, *_clock(facts, ghz, source)) for name, count, ghz in cores),
        f'isa: {{features: [{", ".join(features)}], source: "{source}"}}',
        f'ram_mib: {{value: {_mib(facts.ram_bytes)}, source: "{source}"}}',
        f'usable_ram_mib: {{value: {_mib(facts.available_bytes)}, source: "{source}"}}',
        *([_copy_line(copy_gb_s, source, busy)] if copy_gb_s else []),
        "# peak_gb_s: {value: …, source: …}   bus width in bytes times transfers per second",
        "budgets: {first_token_ms: 1500, decode_tok_s: 8, memory_mib: 1024, package_mib: 512, accuracy_drop: 0.02}",
        "default_recipe: quickstart",
    ]
    return "\n".join(lines) + "\n"


def _platform(facts: Facts, how: str) -> tuple[str, str]:
    """Kind and triple."""
    machine = _ARM64.get(facts.machine, facts.machine)
    if (facts.kernel or "").startswith("Darwin"):
        return "mac", f"{machine}-macos"
    return "phone" if how == "adb" else "x86" if machine == "x86_64" else "board", f"{machine}-linux-musl"


def _core_line(kind: str, count: int, is_big: bool, ghz: float, source: str) -> str:
    rest = f"lanes: {_LANES.get(kind, 2.0)}{'' if is_big else ', big: false'}"
    return f'  - {{type: {_quoted(kind)}, count: {count}, ghz: {ghz:.2f}, {rest}, source: "{source}"}}'


def _clock(facts: Facts, ghz: float, source: str) -> tuple[float, str]:
    """GHz and where they are from: the highest of sysfs, else that of now, else a guess (target.py tells of it)."""
    if ghz:
        return ghz, source
    now = max(map(float, re.findall(r"^cpu MHz\s*:\s*([\d.]+)", facts.cpuinfo, re.MULTILINE)), default=0.0) / 1000
    if now:
        return now, f"{source}; clock: cpu MHz of /proc/cpuinfo at that time"
    return 1.0, "the clock is a guess, to be replaced: the system does not tell it"


def _copy_line(gb_s: float, source: str, busy: str) -> str:
    note = f"  # {busy}: measure it again when nothing else runs" if busy else ""
    return f'copy_gb_s: {{value: {gb_s:.1f}, source: "{source}"}}{note}'


def _cores(facts: Facts) -> list[tuple[str, int, float]]:
    """Type, count and highest GHz, the biggest clock first."""
    kinds = [ARM_PARTS.get(part, f"part {part}") for part in re.findall(r"CPU part\s*:\s*(\w+)", facts.cpuinfo)]
    if not kinds:
        # Threads of one core count once.
        pairs = set(zip(re.findall(r"physical id\s*:\s*(\d+)", facts.cpuinfo),
                        re.findall(r"core id\s*:\s*(\d+)", facts.cpuinfo), strict=False))  # fmt: skip
        count = len(pairs) or len(re.findall(r"^processor\s*:", facts.cpuinfo, re.MULTILINE)) or facts.cores or 1
        kinds = [facts.cpu or facts.machine] * count
    clocks = facts.max_khz if len(facts.max_khz) >= len(kinds) else (0,) * len(kinds)
    fastest = {kind: max(khz for k, khz in zip(kinds, clocks, strict=False) if k == kind) / 1e6 for kind in kinds}
    return sorted(((k, n, fastest[k]) for k, n in Counter(kinds).items()), key=lambda core: -core[2])


def _features(facts: Facts) -> list[str]:
    found = [ours for theirs, ours in _FEATURES.items() if theirs in facts.cpu_features]
    return found or ["neon" if facts.machine.startswith(("aarch64", "arm")) else "sse"]


def _cpu(facts: Facts, big: str, features: list[str]) -> str:
    """The compiler's name of a processor that has what every core has: a runtime may run on any of them."""
    if facts.machine == "x86_64":
        level = next((name for name, needed in _LEVELS if needed <= set(facts.cpu_features)), "x86_64")
        return "+".join([level, *(feature.replace("_", "") for feature in features if "vnni" in feature)])
    if big not in ARM_PARTS.values():
        return "generic  # runs anywhere, several times slower: write the compiler's name of the CPU, e.g. cortex_a76"
    if big in _WITH_SVE and "sve2" not in features:  # some makers' kernels do not allow it
        return "+".join(["cortex_a78", *(feature for feature in ("i8mm", "bf16") if feature in features)])
    return big.lower().replace("-", "_")


def _title(facts: Facts) -> str:
    named = facts.model if facts.model not in _NO_NAMES else None
    return named or facts.cpu or facts.machine


def _quoted(text: str) -> str:
    """For YAML, whatever a maker wrote."""
    return json.dumps(text, ensure_ascii=False)


def _mib(size: int | None) -> int:
    return (size or MIB) // MIB
