"""What a piece of work took: time on the clock and on the cores, and the most memory meanwhile, a GPU's included."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_LITTLE = 1.0
"""Seconds of processor time up to which another process did no work worth the name, e.g. told its version."""


@dataclass
class Spent:
    """Filled when the work is over."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all threads together, and of processes that the work started: other work on the machine does not add to it."""
    peak_mib: float | None = None
    """Most resident memory, what the process held before included; None where the system does not tell, or where other
    processes did some of the work: nobody knows what all of them held at once."""
    gpu_peak_mib: float | None = None
    """Most memory that torch held on the GPUs, all together; None without a GPU, and as for `peak_mib`."""


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure what is done within; nothing is known after an exception. Memory that was freed before, and that malloc
    still holds, counts as the work's own."""
    spent, tells_peak = Spent(), _forget_peak()
    _forget_gpu_peak()
    begun, begun_cpu, begun_others = time.monotonic(), time.process_time(), _others_seconds()
    yield spent
    others = _others_seconds() - begun_others
    spent.seconds = round(time.monotonic() - begun, 3)
    spent.cpu_seconds = round(time.process_time() - begun_cpu + others, 3)
    if others < _LITTLE:
        spent.peak_mib = _peak_mib() if tells_peak else None
        spent.gpu_peak_mib = _gpu_peak_mib()


def total(parts: Sequence[Spent]) -> Spent | None:
    """Of work done one after the other; None where there is no part."""
    if not parts:
        return None
    seconds, cpu = sum(part.seconds for part in parts), sum(part.cpu_seconds for part in parts)
    peaks = [_most([part.peak_mib for part in parts]), _most([part.gpu_peak_mib for part in parts])]
    return Spent(round(seconds, 3), round(cpu, 3), *peaks)


def _most(peaks: Sequence[float | None]) -> float | None:
    return max((peak for peak in peaks if peak is not None), default=None)


def _others_seconds() -> float:
    """Processor time of the processes that this one started, and theirs, once they are over."""
    took = os.times()
    return took.children_user + took.children_system


def _forget_peak() -> bool:
    """Let the kernel (Linux) count the peak from here on; says whether it can."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _peak_mib() -> float | None:
    lines = _STATUS.read_text().splitlines()
    found = next((line for line in lines if line.startswith("VmHWM:")), None)
    return round(int(found.split()[1]) / 1024, 1) if found else None


def _forget_gpu_peak() -> None:
    import torch

    for number in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        torch.cuda.reset_peak_memory_stats(number)


def _gpu_peak_mib() -> float | None:
    import torch

    peaks = [torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count())]
    return round(sum(peaks) / 2**20, 1) if peaks else None
