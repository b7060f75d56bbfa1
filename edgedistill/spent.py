"""What a piece of work took: time on the clock and on the cores, and the most memory of this process meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass
class Spent:
    """Filled when the work is over."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all threads together: other work on the machine does not add to it."""
    peak_mib: float | None = None
    """Most resident memory, what the process held before included; None where the system does not tell."""


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure what is done within; nothing is known after an exception. Memory that was freed before, and that malloc
    still holds, counts as the work's own."""
    spent, tells_peak = Spent(), _forget_peak()
    begun, begun_cpu = time.monotonic(), time.process_time()
    yield spent
    spent.seconds = round(time.monotonic() - begun, 3)
    spent.cpu_seconds = round(time.process_time() - begun_cpu, 3)
    spent.peak_mib = _peak_mib() if tells_peak else None


def total(parts: Sequence[Spent]) -> Spent | None:
    """Of work done one after the other; None where there is no part."""
    if not parts:
        return None
    peaks = [part.peak_mib for part in parts if part.peak_mib is not None]
    seconds, cpu = sum(part.seconds for part in parts), sum(part.cpu_seconds for part in parts)
    return Spent(round(seconds, 3), round(cpu, 3), max(peaks, default=None))


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
