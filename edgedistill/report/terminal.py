"""What a build says on a terminal. Readable without color and in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgedistill import table
from edgedistill.report import bench, words
from edgedistill.report.schema import OnDevice, Report, StudentLine

if TYPE_CHECKING:
    from edgedistill.store import Step

_STYLES: table.Styles = {
    "met": {"fg": "green"},
    "missed": {"fg": "red", "bold": True},
    "unproven": {"fg": "yellow"},
    "FAILED": {"fg": "red", "bold": True},
    "chosen": {"bold": True},
}


def step_line(step: Step) -> str:
    """`prefer     1h 12m    9b1e02aa    1,840 pairs from 5,000 drafts`"""
    took = words.duration(step.seconds) if step.status == "ran" else step.status
    said = step.summary or (f"{step.rows:,} rows" if step.rows is not None else "")
    return f"{step.name:<10} {took:<9} {step.key[:8]}    {said}".rstrip()


def page(report: Report) -> Iterator[str]:
    """The result as lines: budgets first, then what was found out about each candidate and the student."""
    yield click.style(words.headline(report), bold=True)
    if report.budgets:
        yield from _budgets(report)
    if report.candidates:
        yield ""
        yield from _candidates(report)
    if report.student:
        yield ""
        yield _student(report.student)
    for run in bench.runs(report):
        yield ""
        yield from _on_device(report, run)


def _budgets(report: Report) -> list[str]:
    rows = [
        (words.budget_name(b), words.limit(b), words.got(b, report.chosen), b.verdict, b.evidence)
        for b in report.budgets
    ]
    return table.lines(("budget", "limit", "got", "verdict", "evidence"), rows, styles=_STYLES)


def _candidates(report: Report) -> list[str]:
    quality = words.quality_name(report)
    head = ("candidate", "size", quality, "KL", "parity", "first token", "decode", "memory", "")
    rows = []
    for one in report.candidates:
        speed = words.first_token(one.latency), words.decode(one.latency), words.memory(one.memory_mib)
        facts = one.name, words.size(one.bytes), words.quality(one), words.kl(one), words.parity(one)
        rows.append((*facts, *speed, words.outcome(one)))
    made = table.lines(head, rows, right=("size", "KL", "first token", "decode", "memory"), styles=_STYLES)
    kinds = {found.evidence for one in report.candidates for found in (one.latency, one.memory_mib) if found}
    estimated = " or ".join(sorted(kinds - {"measured"}))
    return [*made, f"{table.INDENT}~ {estimated}, not measured on the device"] if estimated else made


def _on_device(report: Report, run: OnDevice) -> list[str]:
    """Percentiles, then one line for each condition."""
    rows = table.lines(bench.TIMES_HEAD, bench.times(run), right=("p50", "p90", "p99"))
    told = [f"{table.INDENT}{name:<12} {said}" for name, said in bench.conditions(run)]
    return [f"{table.INDENT}{bench.headline(report, run)}", *rows, "", *told]


def _student(student: StudentLine) -> str:
    """Before and after, whichever way it went."""
    change = student.tuned_accuracy - student.base_accuracy
    verb = "gained" if change > 0 else "LOST" if change < 0 else "gained nothing,"
    line = f"  student {verb} {abs(change):.3f}: {student.base_accuracy:.3f} base, {student.tuned_accuracy:.3f} tuned"
    extra = "".join(f", {name.replace('_', ' ')} {value:.3f}" for name, value in student.details.items())
    return f"{line}, n = {student.n}{extra}"
