"""Accelerators that `plan` can count hours on: what their makers state. How much of it is reached is in cost.py."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

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


def find(name: str) -> Accelerator:
    """The accelerator of that name. Raises UsageError that lists those there are."""
    known = {accelerator.name: accelerator for accelerator in TABLE}
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        guess = f" (did you mean `{near[0]}`?)" if near else ""
        raise UsageError(f"no accelerator named `{name}`{guess}; there are: {', '.join(known)}")
    return known[name]
