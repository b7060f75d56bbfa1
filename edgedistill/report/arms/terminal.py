"""What a comparison says on a terminal: the answer first, then the tables it rests on."""

from __future__ import annotations

from collections.abc import Iterator

import click

from edgedistill import table
from edgedistill.comparison import MEAN_OF_TASKS
from edgedistill.report.arms import words
from edgedistill.report.arms.schema import ArmsReport

_NUMBERS = ("items", "format", "drafts", "exam", "score", "sd", "reliability", "question pairs", "rationale pairs")


def page(report: ArmsReport) -> Iterator[str]:
    yield click.style(words.headline(report), bold=True)
    yield from (f"{table.INDENT}{line}" for line in report.answer)
    for count in report.shots:
        yield ""
        yield click.style(f"{words.shots(count)}, {MEAN_OF_TASKS}", bold=True)
        yield from _table(words.RESULT_HEAD, words.result_rows(report, count, MEAN_OF_TASKS))
        if len(report.tasks) > 1 and (rows := words.task_rows(report, count)):
            yield ""
            yield from _table(words.TASK_HEAD, rows)
    if report.signal:
        yield ""
        yield click.style("what the preferences rest on", bold=True)
        yield from _table(words.SIGNAL_HEAD, words.signal_rows(report))
    yield ""
    yield from (f"{table.INDENT}{note}" for note in words.NOTES)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return table.lines(head, rows, right=_NUMBERS)
