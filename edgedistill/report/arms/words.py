"""How the numbers of a comparison read: the same in terminal, Markdown and HTML."""

from __future__ import annotations

from statistics import fmean

from edgedistill.comparison import MEAN_OF_TASKS
from edgedistill.report.arms.schema import ArmsReport, DataLine, DifferenceLine, ResultLine, SignalLine, TeacherLine
from edgedistill.report.compared import accuracy, change

ORIGIN = {
    "none": "the student as it comes",
    "original": "original teacher's questions and, of four styles, its best-scoring rationales",
    "one-style": "original teacher's questions and its rationales in the style that scores best in the task",
    "rationale-only": "original teacher's questions, aligned teacher's rationales",
    "question-only": "aligned teacher's questions, original teacher's rationales",
    "arte": "aligned teacher's questions and rationales",
}

NOTES = (
    "Test items are the same for every arm and run; greedy answers to the plain prompt, graded by the content of"
    " <ans></ans>; `format` is the share that can be read at all.",
    "Intervals are 95%: items drawn again within their task, paired between arms, and the spread of the runs beyond"
    " what items explain. A run is one seed for drafts, teacher, data and training; few runs say little about it.",
    "The paper's differences are those of Gemma-2B on Big-Bench-Hard (ARTE, arXiv:2406.19227v1, Table 2; one-style:"
    " Table 6).",
)

_TRUSTED = 0.5
"""Split-half reliability below which the order of the drafts is mostly chance."""


def shots(count: int) -> str:
    """`zero-shot`, `three-shot`, `12-shot`"""
    return f"{dict(enumerate(('zero', 'one', 'two', 'three'))).get(count, count)}-shot"


def headline(report: ArmsReport) -> str:
    """`bbh-mini: 6 arms, 3 runs, 5 tasks, 1,250 test items, 250 training rows per task`"""
    rows = sorted({round(line.rows) for line in report.data})
    span = f"{rows[0]:,}" if len(rows) == 1 else f"{rows[0]:,} to {rows[-1]:,}" if rows else "no"
    parts = [
        _count(len(report.arms), "arm"),
        _count(len(report.seeds), "run"),
        _count(len(report.tasks), "task"),
        _count(sum(report.tasks.values()), "test item"),
        f"{span} training rows per task",
    ]
    return f"{report.recipe}: {', '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def paper(line: DifferenceLine | None) -> str:
    return "-" if line is None or line.paper is None else f"{line.paper:+.3f}"


def by_run(line: ResultLine | DifferenceLine) -> str:
    sign = "+" if isinstance(line, DifferenceLine) else ""
    return ", ".join(f"{value:{sign}.3f}" for value in line.by_run)


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def answer(report: ArmsReport) -> list[str]:
    """Whether alignment helped this student, for each number of shots, whichever way it went; then what it rests on."""
    said = [line for count in report.shots for line in _of_shots(report, count)]
    return [*said, *_rests_on(report), *_of_data(report)]


def _of_shots(report: ArmsReport, count: int) -> list[str]:
    found = {a: report.difference("arte", a, count, MEAN_OF_TASKS) for a in ("original", "one-style")}
    said = []
    if line := found["original"]:
        outcome = {"better": "helped", "worse": "hurt", "unclear": "made no clear difference"}[line.verdict]
        said.append(f"{shots(count).capitalize()}, alignment {outcome}: arte minus original is {_told(line)}.")
        said += _by_task(report, count) if len(report.tasks) > 1 else []
    if line := found["one-style"]:
        outcome = {"better": "beats", "worse": "loses to", "unclear": "is not clearly apart from"}[line.verdict]
        said.append(f"{shots(count).capitalize()}, arte {outcome} one-style, which trains no teacher: {_told(line)}.")
    return said


def _told(line: DifferenceLine) -> str:
    """`+0.044 (95% +0.012 to +0.075; above 0 in 3 of 3 runs; paper +0.044)`"""
    above = sum(value > 0 for value in line.by_run)
    runs = f"above 0 in {above} of {_count(len(line.by_run), 'run')}"
    theirs = f"; the paper's is {line.paper:+.3f}" if line.paper is not None else ""
    return f"{line.difference:+.3f} (95% {line.ci_low:+.3f} to {line.ci_high:+.3f}; {runs}{theirs})"


def _by_task(report: ArmsReport, count: int) -> list[str]:
    names: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    for task in report.tasks:
        if line := report.difference("arte", "original", count, task):
            names[line.verdict].append(f"{task} {line.difference:+.3f}")
    told = "; ".join(f"{verdict}: {', '.join(tasks)}" for verdict, tasks in names.items() if tasks)
    return [f"{shots(count).capitalize()} by task, arte minus original: {told}."] if told else []


def _drafts(report: ArmsReport) -> str:
    """How many drafts a task's reliability is taken from."""
    counts = [round(line.compared) for line in report.signal]
    return _count(counts[0], "draft") if min(counts) == max(counts) else f"{min(counts)} to {max(counts)} drafts"


def _rests_on(report: ArmsReport) -> list[str]:
    known = {line.task: line.reliability for line in report.signal if line.reliability is not None}
    weak = [f"{task} {number(value, 2)}" for task, value in known.items() if value < _TRUSTED]
    said = []
    if weak:
        said.append(
            f"In {len(weak)} of {_count(len(known), 'task')} the two halves of the exam hardly agree on the drafts"
            f" (reliability below {_TRUSTED:g}: {', '.join(weak)}; from {_drafts(report)} per run, scored on the"
            " whole exam or on most of it): their order, and so the pairs, are mostly chance."
        )
    elif known:
        said.append(f"The exam's halves agree on the drafts: reliability {_TRUSTED:g} or more in every task.")
    if unknown := [line.task for line in report.signal if line.reliability is None]:
        said.append(f"Whether the exam's halves agree on the drafts is not known for {', '.join(unknown)}.")
    if report.aligned:
        pairs = sum(line.question_pairs + line.rationale_pairs for line in report.signal)
        said.append(f"Alignment saw {pairs:,.0f} pairs per run; {moved(report.aligned)}.")
    return said


def _of_data(report: ArmsReport) -> list[str]:
    """Whether the data differ in what they teach: right answers, and questions that differ; means of the tasks."""
    said = []
    for arm in ("original", "one-style", "arte"):
        if own := [line for line in report.data if line.arm == arm]:
            agreement, distinct = fmean(line.agreement for line in own), fmean(line.distinct_pairs for line in own)
            said.append(f"{arm} {agreement:.2f} and {distinct:.2f}")
    head = "Share of rationales that reach the target of their question, and of different word pairs in the questions"
    return [f"{head}: {', '.join(said)}."] if said else []


def moved(lines: tuple[TeacherLine, ...]) -> str:
    """How far the teacher went from where it came from, one figure per run."""

    def told(name: str, digits: int) -> str:
        return ", ".join(number(getattr(line, name), digits) for line in lines)

    return (
        f"at the end of each run the aligned teacher's KL from the original was {told('kl', 3)}, "
        f"its reward margin {told('reward_margin', 3)}, its reward accuracy {told('reward_accuracy', 2)}"
    )


RESULT_HEAD = ("arm", "accuracy (95%)", "format", "minus original (95%)", "paper", "minus one-style (95%)", "paper")


def result_rows(report: ArmsReport, count: int, scope: str) -> list[tuple[str, ...]]:
    """One row per arm, for RESULT_HEAD."""
    rows: list[tuple[str, ...]] = []
    for arm in report.arms:
        own = report.result(arm, count, scope)
        original = report.difference(arm, "original", count, scope)
        style = report.difference(arm, "one-style", count, scope)
        form = f"{own.format_rate:.3f}"
        rows.append((arm, accuracy(own), form, change(original), paper(original), change(style), paper(style)))
    return rows


TASK_HEAD = (
    "task",
    "items",
    "original",
    "one-style",
    "arte",
    "arte minus original (95%)",
    "arte minus one-style (95%)",
)


def task_rows(report: ArmsReport, count: int) -> list[tuple[str, ...]]:
    """One row per task and for both ways to one figure, for TASK_HEAD; none when `arte` was not run."""
    rows: list[tuple[str, ...]] = []
    if "arte" not in report.arms:
        return rows
    for scope in dict.fromkeys(line.scope for line in report.results):
        cells = [f"{report.result(a, count, scope).accuracy:.3f}" if a in report.arms else "-" for a in TASK_HEAD[2:5]]
        changes = [change(report.difference("arte", against, count, scope)) for against in ("original", "one-style")]
        rows.append((scope, f"{report.result('arte', count, scope).n:,}", *cells, *changes))
    return rows


SIGNAL_HEAD = (
    *("task", "drafts", "exam", "score", "sd", "reliability"),
    *("question pairs", "gap", "rationale pairs", "gap", "dropped"),
)


def signal_rows(report: ArmsReport) -> list[tuple[str, ...]]:
    """One row per task, for SIGNAL_HEAD."""
    return [_signal_row(line) for line in report.signal]


def _signal_row(line: SignalLine) -> tuple[str, ...]:
    dropped = ", ".join(f"{name.replace('_', ' ')} {count:,.0f}" for name, count in line.dropped.items())
    return (
        line.task,
        f"{line.drafts:,.0f}",
        f"{line.exam:.0f}",
        number(line.mean_score),
        number(line.sd_score),
        number(line.reliability, 2),
        f"{line.question_pairs:,.0f}",
        number(line.question_gap, 2),
        f"{line.rationale_pairs:,.0f}",
        number(line.rationale_gap, 2),
        dropped or "-",
    )


DATA_HEAD = ("arm", "task", "rows", "answer agrees", "words", "distinct word pairs", "questions overlap")


def data_rows(report: ArmsReport) -> list[tuple[str, ...]]:
    """One row per arm and task, for DATA_HEAD."""
    return [_data_row(line) for line in report.data]


def _data_row(line: DataLine) -> tuple[str, ...]:
    return (
        line.arm,
        line.task,
        f"{line.rows:,.0f}",
        number(line.agreement),
        number(line.words, 1),
        number(line.distinct_pairs),
        number(line.overlap),
    )
