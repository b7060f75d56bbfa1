"""Lock files: one process at a time, and the others wait and say so."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedistill.log import say


@contextmanager
def held(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file while working on `what`. The kernel lets go of it on a kill; the file itself stays."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another process is working on {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
