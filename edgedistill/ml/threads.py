"""How many threads a runtime gets when nobody says."""

from __future__ import annotations

import os


def default_threads() -> int:
    """What OMP_NUM_THREADS says, else the cores that this process may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
