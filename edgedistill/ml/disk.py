"""A full disk, said the way Python says it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_FULL_BYTES = 1 << 20
"""With less than this free, a failed write is blamed on it."""


@contextmanager
def full_disk_is_an_os_error(folder: Path) -> Iterator[None]:
    """torch and safetensors raise errors of their own when a write fails; the store knows what to say to OSError."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if "os error 28" not in str(error) and shutil.disk_usage(folder).free > _FULL_BYTES:
            raise
        raise OSError(errno.ENOSPC, "no space left on device", str(folder)) from error
