"""How the numbers of a contest read: the same in terminal, Markdown and HTML."""

from __future__ import annotations

from edgedistill import even_tokens
from edgedistill.report.compared import accuracy, change
from edgedistill.report.methods.schema import (
    AgreementLine,
    CostLine,
    MethodsReport,
    PredictionLine,
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
    "seqkd": "fine-tuning on what the teacher writes for the same questions, drawn and checked like the rows",
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
LEFT_OUT = {
    "too_long": "too long",
    "too_alike": "responses too alike",
    "alike": "said already",
    "unusable": "no usable answer",
}
"""Reasons why something was not learned from."""
NOTES = (
    "Test items are the same for every arm and run; greedy answers to the plain prompt, graded by the content of"
    " <ans></ans>.",
    "Intervals of accuracies are 95%: items drawn again within their task, paired between arms, and the spread of the"
    " runs beyond what items explain. Few runs say little about that.",
    "Rank correlations are taken within each task and run, and averaged. Their intervals are 95%: questions, with all"
    " drafts of each, or groups, drawn again. They are about these runs; what other runs would give is not in them.",
    "Methods are trained again with more or fewer rows until the student reads as many tokens as with the first, give"
    " or take 5%; what is left of the difference is in the table, and so is what a method could not learn from. Ways of"
    " pairing and signals get the same number of rows.",
    "Learning rates and other options are not searched here: they are the recipe's, `methods.options` over a tenth of"
    " the rate for methods that learn from preferences. With `alpha: 1` a PAD arm ranks by the teacher's likelihood"
    " alone, and its choice between two answers is not measured.",
    "The cost is that of what differs: the student's training, the teacher's alignment, or the scoring. Memory is that"
    " of the whole process; a step that was killed and went on counts from there. The cost of several teachers is"
    " without making the second one.",
    "More test items, such as real users' words, come from a folder that `--test-items` names; the project ships none."
    " For `quickstart`, `python tests/bench/real_utterances.py --as-test-items DIR` writes one from public data.",
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
    return said + _further(report) + _uneven(report) + _foretold(report) + _failed(report)


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


def _further(report: MethodsReport) -> list[str]:
    """Differences from other arms than the first."""
    lines = [line for table in report.tables for line in report.further(table)]
    return [
        f"{items[:1].capitalize()}{items[1:]}, further: "
        + ", ".join(f"{line.arm} minus {line.against} {change(line)}" for line in lines if line.items == items)
        + "."
        for items in dict.fromkeys(line.items for line in lines)
    ]


def _uneven(report: MethodsReport) -> list[str]:
    """Methods whose comparison is also one of how much the student read."""
    lines = [line for line in report.costs if is_uneven(line)]
    told = ", ".join(f"{line.arm} {line.token_ratio:.2f}" for line in lines)
    return [f"The student read another amount, times that of {report.arms('methods')[0]}: {told}."] if lines else []


def is_uneven(line: CostLine) -> bool:
    return line.table == "methods" and line.token_ratio is not None and not even_tokens.is_even(line.token_ratio, 1)


def _failed(report: MethodsReport) -> list[str]:
    return [f"Failed, seed {line.seed}: {line.arm}: {line.reason}" for line in report.failures]


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
    return ("arm", *columns, "tokens", f"of {against}'s", "left out", "seconds", "CPU s", "MiB")


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
        read = (number(cost.student_tokens, 0), tokens(cost), left_out(cost))
        rows.append((arm, *cells, *read, number(cost.seconds), number(cost.cpu_seconds), number(cost.peak_mib, 0)))
    return rows


def tokens(line: CostLine) -> str:
    """`1.02`, or `1.31 uneven` where methods should have read the same."""
    return number(line.token_ratio, 2) + (" uneven" if is_uneven(line) else "")


def left_out(line: CostLine) -> str:
    """`12 responses too alike, 3 too long`, per run."""
    told = (f"{number(count, 0)} {LEFT_OUT.get(name, name)}" for name, count in line.left_out.items())
    return ", ".join(told) or "-"


FURTHER_HEAD = ("arm", "minus", "on", "difference (95%)")


def further_rows(report: MethodsReport, table: TableName) -> list[tuple[str, ...]]:
    """Arms against those that they are to be better than, beside the first of the table."""
    return [(line.arm, line.against, line.items, change(line)) for line in report.further(table)]


AGREEMENT_HEAD = ("signal", "and", "rank correlation (95%)", "drafts")


def agreement_rows(report: MethodsReport) -> list[tuple[str, ...]]:
    return [(line.signal, line.other, spearman(line), f"{line.drafts:,.0f}") for line in report.agreement]


PREDICTION_HEAD = ("signal", "gain in", "rank correlation (95%)", "groups")


def prediction_rows(report: MethodsReport) -> list[tuple[str, ...]]:
    return [(line.signal, FIGURE[line.figure], spearman(line), f"{line.groups:,.0f}") for line in report.prediction]
