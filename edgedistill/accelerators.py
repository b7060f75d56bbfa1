"""Accelerators that `plan` can count hours on: what their makers state. How much of it is reached is in cost.py."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgedistill.errors import UsageError


@dataclass(frozen=True)
class Accelerator:
    """One device. Peaks are those of dense bfloat16 matrices; makers like to print twice that, for sparse ones."""

    name: str
    title: str
    tflops: float
    """Peak, 1e12 operations/s."""
    read_gb_s: float
    """Peak memory rate, 1e9 bytes/s."""
    memory_gib: float
    source: str


TABLE = (
    Accelerator(
        "a100-80gb",
        "NVIDIA A100 SXM, 80 GB",
        312,
        2039,
        80,
        "NVIDIA's data sheet 1758950 r4, as quoted by https://glennklockwood.com/garden/processors/A100",
    ),
    Accelerator(
        "h100-80gb",
        "NVIDIA H100 SXM, 80 GB",
        989,
        3350,
        80,
        "https://glennklockwood.com/garden/processors/h100",
    ),
    Accelerator(
        "rtx4090",
        "NVIDIA GeForce RTX 4090, 24 GB",
        165,
        1008,
        24,
        "https://waredb.com/processor/nvidia-geforce-rtx-4090",
    ),
    Accelerator(
        "l4",
        "NVIDIA L4, 24 GB",
        121,
        300,
        24,
        "half of the 242 with sparsity in https://grokipedia.com/page/NVIDIA_L4_vs_L40S",
    ),
)


def seen() -> tuple[int, ...]:
    """Free bytes of each NVIDIA GPU of this machine that CUDA programs may use, as nvidia-smi says; none without it."""
    asked = ["--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(["nvidia-smi", *asked], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    free = [int(line) * (1 << 20) for line in told.split() if line.isdigit()]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None or not re.fullmatch(r"[\d,]*", allowed):  # names of GPUs are taken as all
        return tuple(free)
    return tuple(free[int(number)] for number in allowed.split(",") if number and int(number) < len(free))


def free_main() -> int:
    """Free bytes of main memory, with those that only cache files; all there are where the system does not tell."""
    told = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s*(\d+) kB", told.read_text(), re.MULTILINE) if told.is_file() else None
    return int(found[1]) << 10 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def find(name: str) -> Accelerator:
    """The accelerator of that name. Raises UsageError that lists those there are."""
    known = {accelerator.name: accelerator for accelerator in TABLE}
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        guess = f" (did you mean `{near[0]}`?)" if near else ""
        raise UsageError(f"no accelerator named `{name}`{guess}; there are: {', '.join(known)}")
    return known[name]
