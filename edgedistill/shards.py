"""How long stages survive a kill: their work is cut into numbered shards, each written whole when it is done.

A rerun reads the finished shards and makes the others. Random numbers of a shard start from the seed and the shard's
number alone, so a resumed run leaves the same bytes as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from edgedistill.engine import Engine, open_engine
from edgedistill.files import read_rows, write_rows
from edgedistill.log import progress
from edgedistill.models import Model

T = TypeVar("T")

Row = dict[str, Any]

ANSWERED = "answered.jsonl"
"""Beside the shards while a server is asked."""


def shard(folder: Path, number: int, make: Callable[[], Iterable[Row]]) -> list[Row]:
    """The rows of one shard: read back if an earlier run finished it, else made and written."""
    path = shard_path(folder, number)
    if not path.is_file():
        write_rows(path, make())
    return list(read_rows(path))


def in_shards(
    folder: Path,
    items: Sequence[T],
    size: int,
    what: str,
    make: Callable[[Sequence[T], int, Callable[[int], None]], Iterable[Row]],
    each: int = 1,
) -> list[Row]:
    """The rows of all items, `size` items a shard, with a progress bar of what is made.

    make  (items of a shard, its number, what to tell that so much more is done) -> its rows
    each  what one item counts in the bar
    """
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    done = sum(len(part) for number, part in enumerate(parts) if shard_path(folder, number).is_file())
    found: list[Row] = []
    with progress(what, len(items) * each, done * each) as advance:
        for number, part in enumerate(parts):
            found += shard(folder, number, partial(make, part, number, advance))
    return found


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"{number:04}.jsonl"


def seed_of(seed: int, *names: str | int) -> int:
    """A seed of its own, 0 to 2^31 - 1, for each combination of names."""
    return Random(" ".join(map(str, (seed, *names)))).getrandbits(31)


@contextmanager
def on_demand(model: Model, out: Path | None = None) -> Iterator[Callable[[], Engine]]:
    """Yields a function that opens the model when it is first called: a resumed stage may not need it any more.

    out  the stage's folder: every answer of a server is kept there as it comes, until the stage is through
    """
    answered = out / ANSWERED if out and model.server else None
    with ExitStack() as stack:

        @cache
        def opened() -> Engine:
            return stack.enter_context(open_engine(model, answered) if answered else open_engine(model))

        yield opened
    if answered:  # not after a failure
        answered.unlink(missing_ok=True)
