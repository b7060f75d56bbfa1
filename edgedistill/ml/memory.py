"""How freed memory is kept for the next step of a CPU training."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# glibc, malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


@cache
def keep_freed() -> bool:
    """Tell glibc's malloc to keep what is freed; says whether it could.

    Batches of unequal length make torch allocate other sizes at every step. By default glibc takes each large block
    from the kernel and gives it back, so every step faults all its pages in again: that quartered the speed of a small
    model's training on a virtual machine. Results do not change.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28), (_ARENA_MAX, 1))
    return all([library.mallopt(name, value) == 1 for name, value in settings])


def give_back() -> None:
    """Return free memory to the kernel, once a model is gone."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
