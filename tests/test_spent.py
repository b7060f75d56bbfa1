"""What work takes: time, cores and memory of the work alone."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from edgedistill.ml.memory import give_back
from edgedistill.spent import Spent, measured, total


def test_waiting_takes_time_and_no_core() -> None:
    with measured() as spent:
        time.sleep(0.2)
    assert spent.seconds >= 0.2 and spent.cpu_seconds < 0.15


def test_the_peak_is_of_the_work_and_not_of_what_was_before() -> None:
    """64 MiB taken and given back before do not count; 32 MiB within do, though they are gone at the end."""
    before = bytearray(64 << 20)
    del before
    give_back()
    with measured() as small:
        pass
    with measured() as large:
        within = bytearray(b"x" * (32 << 20))
        del within
    if small.peak_mib is None or large.peak_mib is None:
        pytest.skip("this system does not tell a process its peak memory")
    assert 24 < large.peak_mib - small.peak_mib < 100


def test_work_one_after_the_other_adds_its_times_and_has_the_higher_peak() -> None:
    assert total([Spent(1.0, 2.0, 300.0), Spent(0.5, 0.25, None)]) == Spent(1.5, 2.25, 300.0)
    assert total([Spent(1.0, 1.0)]) == Spent(1.0, 1.0, None)
    assert total([]) is None


def test_processes_that_the_work_starts_count_and_leave_its_memory_unknown() -> None:
    """A little process counts too, but what it held does not matter."""
    busy = "import time\nwhile time.process_time() < {}: pass"
    with measured() as little:
        subprocess.run([sys.executable, "-S", "-c", busy.format(0.3)], check=True)
    with measured() as took:
        subprocess.run([sys.executable, "-S", "-c", busy.format(1.1)], check=True)
    assert 0.25 <= little.cpu_seconds < 1 and took.cpu_seconds >= 1.1
    assert took.peak_mib is None and took.gpu_peak_mib is None


def test_of_several_peaks_the_highest_is_known() -> None:
    parts = [Spent(1.0, 2.0, 10.0, None), Spent(1.0, 2.0, None, 7.0), Spent(1.0, 2.0, 30.0, 5.0)]
    assert total(parts) == Spent(3.0, 6.0, 30.0, 7.0)
