"""report.md of a comparison."""

from __future__ import annotations

from edgedistill.comparison import MEAN_OF_TASKS
from edgedistill.report import words as general
from edgedistill.report.arms import words
from edgedistill.report.arms.schema import ArmsReport
from edgedistill.report.markdown import table


def page(report: ArmsReport) -> str:
    parts = [f"# {words.headline(report)}", _opening(report), "\n".join(f"- {line}" for line in report.answer)]
    for count in report.shots:
        heading = f"## {words.shots(count).capitalize()}"
        parts += [heading, f"{MEAN_OF_TASKS.capitalize()}:"]
        parts.append(table(words.RESULT_HEAD, words.result_rows(report, count, MEAN_OF_TASKS)))
        if rows := words.task_rows(report, count):
            parts += ["By task:", table(words.TASK_HEAD, rows)]
    parts += ["\n".join(f"- {note}" for note in words.NOTES), "## Arms"]
    parts.append(table(("arm", "trained on"), [(arm, words.ORIGIN[arm]) for arm in report.arms]))
    if report.signal:
        parts += ["## What the preferences rest on", table(words.SIGNAL_HEAD, words.signal_rows(report))]
        parts.append(f"On average over the runs; {words.moved(report.aligned)}.")
    if report.data:
        parts += ["## What the arms were trained on", table(words.DATA_HEAD, words.data_rows(report))]
    stages = [(s.name, s.status, general.duration(s.seconds), f"`{s.key[:8]}`", s.summary) for s in report.stages]
    parts += ["## Stages", table(("stage", "status", "time", "key", "left"), stages)]
    return "\n\n".join(parts) + "\n"


def _opening(report: ArmsReport) -> str:
    others = f" Test items from `{report.test_items}`." if report.test_items else ""
    return (
        f"{report.started[:10]} {report.started[11:16]} UTC, {general.duration(report.seconds)}, `{report.build_id}`."
        f" Teacher `{report.teacher}`, student `{report.student}`, seeds {', '.join(map(str, report.seeds))}.{others}"
    )
