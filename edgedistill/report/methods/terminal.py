"""What a contest says on a terminal: the answer first, then the tables it rests on."""

from __future__ import annotations

from collections.abc import Iterator

import click

from edgedistill import table
from edgedistill.report.methods import words
from edgedistill.report.methods.schema import MethodsReport

_NUMBERS = ("tokens", "seconds", "CPU s", "MiB", "drafts", "groups")


def page(report: MethodsReport) -> Iterator[str]:
    yield click.style(words.headline(report), bold=True)
    yield from (f"{table.INDENT}{line}" for line in report.answer)
    for name in report.tables:
        yield from _titled(f"{words.TITLE[name]}; cost of {words.COST[name]}")
        yield from table.lines(words.result_head(report, name), words.result_rows(report, name), right=_NUMBERS)
        if further := words.further_rows(report, name):
            yield ""
            yield from table.lines(words.FURTHER_HEAD, further)
    if report.agreement:
        yield from _titled("do the signals agree on the drafts")
        yield from table.lines(words.AGREEMENT_HEAD, words.agreement_rows(report), right=_NUMBERS)
    if report.prediction:
        yield from _titled("does what they say of a group of drafts come true")
        yield from table.lines(words.PREDICTION_HEAD, words.prediction_rows(report), right=_NUMBERS)
    yield ""
    yield from (f"{table.INDENT}{note}" for note in words.NOTES)


def _titled(text: str) -> tuple[str, str]:
    return "", click.style(text, bold=True)
