"""What a command that was cut short leaves, and the one that goes on from there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgedistill.errors import EdgeDistillError
from edgedistill.store import Store


def kept(store: Store, again: str) -> str:
    """What is kept, and the command that goes on."""
    done = ", ".join(step.name for step in store.steps)
    what = f"kept: {done}, and the finished shards of the stage at work" if done else "finished shards are kept"
    return f"{what}; go on with `{again}`"


@contextmanager
def told_what_is_kept(store: Store, again: str) -> Iterator[None]:
    """Interrupts always say it; errors say it once a stage has begun."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(kept(store, again))
        raise
    except EdgeDistillError as error:
        error.hint = f"{error.hint}\n      {kept(store, again)}".strip() if store.steps else error.hint
        raise


def of_comparison(
    command: str, recipe: str, overrides: tuple[str, ...], seeds: int | None, test_items: Path | None, runs: Path
) -> str:
    """The `arms` or `methods` that goes on."""
    words: list[Any] = ["edgedistill", command, "--recipe", recipe]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--seeds", seeds] if seeds else []
    words += ["--test-items", test_items] if test_items else []
    words += ["--runs", runs] if runs != Path("runs") else []
    return shlex.join(str(word) for word in words)
