"""report.md: the same tables for a repository, a ticket or a mail."""

from __future__ import annotations

from collections.abc import Iterable

from edgedistill.report import bench, words
from edgedistill.report.schema import Alignment, CandidateLine, Report


def page(report: Report, lineage: dict[str, str]) -> str:
    parts = [f"# {words.headline(report)}", _opening(report)]
    budgets = [
        (words.budget_name(b), words.limit(b), words.got(b, report.chosen), b.verdict, b.evidence)
        for b in report.budgets
    ]
    if budgets:
        parts += ["## Budgets", table(("budget", "limit", "got", "verdict", "evidence"), budgets)]
    if report.candidates:
        head = (
            "candidate",
            "size",
            words.quality_name(report),
            "drop",
            "parity",
            "first token",
            "decode",
            "answer",
            "memory",
            "",
        )
        parts += ["## Candidates", table(head, map(_candidate, report.candidates))]
        parts.append("`~` marks what is not measured on the device.")
        parts += words.fitted(report)
        parts += [words.CONTEST] if words.is_contest(report) else []
    for run in bench.runs(report):
        parts += [f"## {bench.title(run)}", f"{bench.headline(report, run)}."]
        parts.append(table(bench.TIMES_HEAD, bench.times(run)))
        parts.append(table(("", ""), bench.conditions(run)))
    if report.alignment:
        parts += ["## How the teacher was aligned", words.alignment(report.alignment), _curve(report.alignment)]
    stages = [(s.name, s.status, words.duration(s.seconds), f"`{s.key[:8]}`", s.summary) for s in report.stages]
    parts += ["## Stages", table(("stage", "status", "time", "key", "left"), stages)]
    if lineage:
        parts += ["## Where it comes from", table(("", ""), lineage.items())]
    if report.bundle:
        parts += ["## Bundle", f"`{report.bundle.path}`, {words.size(report.bundle.bytes)}, manifest sha256 "
                  f"`{report.bundle.manifest_sha256}`"]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _opening(report: Report) -> str:
    took = words.duration(report.seconds)
    line = f"{words.when(report)}, {took}, build `{report.build_id}`, exit code {report.exit_code}."
    student = report.student
    if student is None:
        return line
    change = student.tuned_accuracy - student.base_accuracy
    lost = ", it lost accuracy" if change < 0 else ""
    details = "".join(f" {name.replace('_', ' ').capitalize()} {value:.3f}." for name, value in student.details.items())
    return (
        f"{line}\n\nOn {student.n} test items the student went from {student.base_accuracy:.3f} to "
        f"{student.tuned_accuracy:.3f} ({change:+.3f}{lost}), as float.{details}"
    )


def _curve(alignment: Alignment) -> str:
    """At most five points of the training: the first, the last, and some between."""
    last = len(alignment.curve) - 1
    shown = [alignment.curve[at] for at in sorted({round(last * part / 4) for part in range(5)})]
    head = ("step", "loss", "reward margin", "reward accuracy", "KL")
    return table(
        head,
        [
            (f"{p.step:,}", f"{p.loss:.3f}", f"{p.reward_margin:.3f}", f"{p.reward_accuracy:.3f}", f"{p.kl:.4f}")
            for p in shown
        ],
    )


def _candidate(one: CandidateLine) -> tuple[str, ...]:
    drop = f"{one.accuracy.drop:.3f} (at most {one.accuracy.worst_drop:.3f})" if one.accuracy else "-"
    times = words.first_token(one.latency), words.decode(one.latency), words.answer_time(one.latency)
    speed = *times, words.memory(one.memory_mib)
    cells = one.name, words.size(one.bytes), words.quality(one), drop, words.parity(one), *speed, words.outcome(one)
    return tuple(f"**{cell}**" for cell in cells) if one.chosen else cells


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Head and rows with bars between."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
