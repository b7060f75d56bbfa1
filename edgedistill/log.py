"""What the user sees while work goes on: one line per event on stderr, a progress bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PLAIN_EVERY_S = 10.0


def say(line: str) -> None:
    """One line of progress on stderr; stdout is for results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields `advance(n)`. On a terminal a bar with rate and time left, elsewhere a plain line at once and every 10 s.

    `done` counts what an earlier, interrupted run already finished; the rate is of this run only.
    """
    bar = _rich_bar if sys.stderr.isatty() else _plain_lines
    with bar(label, total, done) as advance:
        yield advance


@contextmanager
def _plain_lines(label: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    begun = last = time.monotonic()
    finished = done
    if done < total:
        say(f"  {label}  {done:,}/{total:,}")

    def advance(n: int = 1) -> None:
        nonlocal finished, last
        finished += n
        now = time.monotonic()
        if now - last >= _PLAIN_EVERY_S:
            last = now
            rate = (finished - done) / (now - begun)
            left = (total - finished) / rate if rate > 0 else 0.0
            say(f"  {label}  {finished:,}/{total:,}  {rate:,.1f}/s  {left:,.0f} s left")

    yield advance


@contextmanager
def _rich_bar(label: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total, completed=done, rate="")

        def advance(n: int = 1) -> None:
            shown.advance(task, n)
            rate = (shown.tasks[0].completed - done) / max(time.monotonic() - begun, 1e-9)
            shown.update(task, rate=f"{rate:,.1f}/s")

        yield advance
