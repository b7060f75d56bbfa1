"""How the numbers of a contest read: the same in terminal, Markdown and HTML."""

from __future__ import annotations

from edgedistill.report.methods.schema import (
    AgreementLine,
    DifferenceLine,
    MethodsReport,
    PredictionLine,
    ResultLine,
    TableName,
)

TITLE: dict[TableName, str] = {
    "methods": "training methods, on the same data",
    "pairs": "ways of pairing, from the same scores",
    "signals": "signals, on the same drafts",
}
COST: dict[TableName, str] = {
    "methods": "the student's training",
    "pairs": "the teacher's alignment",
    "signals": "the scoring of the drafts",
}
ORIGIN = {
    "sft": "fine-tuning on the teacher's rows",
    "seqkd": "fine-tuning on what the teacher writes for the same questions",
    "topk_kd": "the teacher's likeliest tokens at every place of its rows, from a cache",
    "on_policy": "the student's own samples, its divergence from the teacher at every token (GKD)",
    "dpo": "pairs of a teacher's and a student's answer",
    "pad-vpd": "ranked student samples, likelihood of the teacher's ranking",
    "pad-ppd": "ranked student samples, divergence of the two distributions of rankings",
    "sft+pad": "fine-tuning with half of the tokens, then pad-ppd with the other half",
    "several-teachers": "rows of several teachers, drawn by weight",
    "plain": "ties and small gaps dropped, every pair alike",
    "equal": "what the exam cannot tell apart becomes an equal pair",
    "margin": "the larger the gap, the larger the lead that DPO asks for",
    "smooth": "labels softened by the chance that the order turns",
    "drop": "pairs whose gap is within its standard deviation dropped",
    "icl_accuracy": "exam items that the student gets right with the draft as its example",
    "answer_loglik": "likelihood of the exam's answers with the draft as the example",
    "influence": "rise of the exam's likelihood after one optimizer step on the draft",
}
NOTES = (
    "Test items are the same for every arm and run; greedy answers to the plain prompt, graded by the content of"
    " <ans></ans>.",
    "Intervals are 95%: items drawn again within their task, paired between arms, and the spread of the runs beyond"
    " what items explain. Few runs say little about that.",
    "The cost is that of what differs: the student's training, the teacher's alignment, or the scoring. Memory is that"
    " of the whole process; a step that was killed and went on counts from there.",
)
FIGURE = {"accuracy": "right answers", "log_prob": "log-probability of the right answers"}


def headline(report: MethodsReport) -> str:
    """`quickstart: 9 methods, 5 ways of pairing, 3 signals, 3 runs, 315 test items`"""
    names: dict[TableName, tuple[str, str]] = {
        "methods": ("method", "methods"),
        "pairs": ("way of pairing", "ways of pairing"),
        "signals": ("signal", "signals"),
    }
    parts = [_count(len(report.arms(table)), *names[table]) for table in report.tables]
    parts.append(_count(len(report.seeds), "run", "runs"))
    parts += [f"{count:,} {name}" for name, count in report.items.items()]
    return f"{report.recipe}: {', '.join(parts)}"


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def accuracy(line: ResultLine) -> str:
    """`0.380 (0.352 to 0.409)`"""
    return f"{line.accuracy:.3f} ({line.ci_low:.3f} to {line.ci_high:.3f})"


def change(line: DifferenceLine | None) -> str:
    """`+0.044 (+0.012 to +0.075) better`"""
    if line is None:
        return "-"
    return f"{line.difference:+.3f} ({line.ci_low:+.3f} to {line.ci_high:+.3f}) {line.verdict}"


def spearman(line: AgreementLine | PredictionLine) -> str:
    """`+0.412 (+0.201 to +0.588)`"""
    if line.spearman is None or line.ci_low is None or line.ci_high is None:
        return "-"
    return f"{line.spearman:+.3f} ({line.ci_low:+.3f} to {line.ci_high:+.3f})"


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def answer(report: MethodsReport) -> list[str]:
    """For each table which arms are clearly apart from the one they are held against; then what signals foretell."""
    said = [line for table in report.tables for items in report.items for line in _of_table(report, table, items)]
    return said + _foretold(report)


def _of_table(report: MethodsReport, table: TableName, items: str) -> list[str]:
    lines = [found for arm in report.arms(table) if (found := report.difference(table, arm, items))]
    if not lines:
        return []
    kinds = {
        verdict: [f"{line.arm} {line.difference:+.3f}" for line in lines if line.verdict == verdict]
        for verdict in ("better", "worse", "unclear")
    }
    told = "; ".join(f"{verdict}: {', '.join(arms)}" for verdict, arms in kinds.items() if arms)
    return [f"{table.capitalize()} against {lines[0].against}, {items}: {told}."]


def _foretold(report: MethodsReport) -> list[str]:
    said = []
    for figure, name in FIGURE.items():
        lines = [line for line in report.prediction if line.figure == figure and line.spearman is not None]
        if lines:
            told = ", ".join(f"{line.signal} {spearman(line)}" for line in lines)
            said.append(f"Rank correlation with what fine-tuning on a group gained in {name}: {told}.")
    return said


def result_head(report: MethodsReport, table: TableName) -> tuple[str, ...]:
    """Two columns for each set of test items, then the cost."""
    against = report.arms(table)[0]
    columns = [name for items in report.items for name in (f"{items} (95%)", f"minus {against} (95%)")]
    return ("arm", *columns, "tokens", "seconds", "CPU s", "MiB")


def result_rows(report: MethodsReport, table: TableName) -> list[tuple[str, ...]]:
    """One row per arm, for result_head."""
    rows = []
    for arm in report.arms(table):
        cost = report.cost(table, arm)
        cells = [
            cell
            for items in report.items
            for cell in (accuracy(report.result(table, arm, items)), change(report.difference(table, arm, items)))
        ]
        spent = (number(cost.student_tokens, 0), number(cost.seconds), number(cost.cpu_seconds))
        rows.append((arm, *cells, *spent, number(cost.peak_mib, 0)))
    return rows


AGREEMENT_HEAD = ("signal", "and", "rank correlation (95%)", "drafts")


def agreement_rows(report: MethodsReport) -> list[tuple[str, ...]]:
    return [(line.signal, line.other, spearman(line), f"{line.drafts:,.0f}") for line in report.agreement]


PREDICTION_HEAD = ("signal", "gain in", "rank correlation (95%)", "groups")


def prediction_rows(report: MethodsReport) -> list[tuple[str, ...]]:
    return [(line.signal, FIGURE[line.figure], spearman(line), f"{line.groups:,.0f}") for line in report.prediction]
