"""report.md of a contest."""

from __future__ import annotations

from edgedistill.report import words as general
from edgedistill.report.markdown import table
from edgedistill.report.methods import words
from edgedistill.report.methods.schema import MethodsReport


def page(report: MethodsReport) -> str:
    parts = [f"# {words.headline(report)}", _opening(report), "\n".join(f"- {line}" for line in report.answer)]
    for name in report.tables:
        parts += [f"## {words.TITLE[name].capitalize()}", f"Cost: {words.COST[name]}."]
        parts.append(table(words.result_head(report, name), words.result_rows(report, name)))
        if further := words.further_rows(report, name):
            parts.append(table(words.FURTHER_HEAD, further))
        parts.append(table(("arm", "what it is"), [(arm, words.ORIGIN.get(arm, "")) for arm in report.arms(name)]))
    if report.agreement:
        parts += ["## Do the signals agree on the drafts", table(words.AGREEMENT_HEAD, words.agreement_rows(report))]
    if report.prediction:
        heading = "## Does what they say of a group of drafts come true"
        parts += [heading, table(words.PREDICTION_HEAD, words.prediction_rows(report))]
    parts.append("\n".join(f"- {note}" for note in words.NOTES))
    stages = [(s.name, s.status, general.duration(s.seconds), f"`{s.key[:8]}`", s.summary) for s in report.stages]
    parts += ["## Stages", table(("stage", "status", "time", "key", "left"), stages)]
    return "\n\n".join(parts) + "\n"


def _opening(report: MethodsReport) -> str:
    return (
        f"{report.started[:10]} {report.started[11:16]} UTC, {general.duration(report.seconds)}, `{report.build_id}`."
        f" Teacher `{report.teacher}`, student `{report.student}`, seeds {', '.join(map(str, report.seeds))}."
    )
