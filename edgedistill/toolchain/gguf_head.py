"""A look at a GGUF file before native code opens it: its head is read in a process with little time and memory.

llama.cpp's loaders trust what a file says, and crafted files have made them write beyond their memory. The reader of
gguf_file.py believes nothing; should it have a fault of its own, the process that it runs in is all that is lost.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from edgedistill import gguf_file
from edgedistill.errors import IntegrityError, StageFailed, TimedOut, UsageError
from edgedistill.toolchain import subprocesses

LIMIT_S = 60
"""Of processor time; a vocabulary of 260,000 tokens takes half a second."""
_PATIENCE = 10
"""Times as much of wall clock: a machine may be busy."""
MEMORY_MIB = 1024
"""Address space; that vocabulary takes 150 MiB."""


def check(path: Path) -> None:
    """Refuse a file whose head is damaged, cut short, crafted, or at odds with itself.

    Raises  UsageError when there is no such file, IntegrityError with what is wrong with it, TimedOut on a machine that
            is too busy to say
    """
    try:
        known = path.stat()
    except OSError as error:
        raise UsageError(f"GGUF file {path} cannot be read: {error.strerror}") from None
    if problem := _problem(path.resolve(), known.st_size, known.st_mtime_ns):
        raise IntegrityError(problem, "fetch it again, or make it again with `edgedistill build --fresh package`")


@lru_cache(maxsize=64)
def _problem(path: Path, size: int, changed_ns: int) -> str:
    """What is wrong with a file that has this size and time; empty when nothing is."""
    request = {"path": str(path), "memory_mib": MEMORY_MIB, "cpu_s": LIMIT_S}
    try:
        found = subprocesses.run(__name__, request, f"reading the head of {path.name}", _PATIENCE * LIMIT_S)
        problem: str = found["found"]
    except TimedOut:
        raise
    except StageFailed as failed:
        within = f"{LIMIT_S} s and {MEMORY_MIB} MiB"
        return f"{path} is not a whole GGUF file: its head cannot be read within {within}\n{failed.problem}"
    return problem


def read_within_limits(request: dict[str, Any]) -> dict[str, Any]:
    """`{path, memory_mib, cpu_s}` -> `{found}`: what is wrong, empty when nothing is."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (request["memory_mib"] << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu_s"],) * 2)
    try:
        gguf_file.check(Path(request["path"]))
    except IntegrityError as error:
        return {"found": error.problem}
    return {"found": ""}


if __name__ == "__main__":
    subprocesses.main(read_within_limits)
