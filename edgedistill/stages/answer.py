"""A teacher answers questions that another teacher wrote: what the arms Rationale Only and Question Only need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgedistill import rationales
from edgedistill.artifacts import Draft, Drafts, Tailored, TailoredRow
from edgedistill.errors import StageFailed
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.sections import TailorConfig
from edgedistill.shards import Row, on_demand, seed_of
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=1)
def answer(
    out: Path, questions: Drafts | Tailored, writer: Model, tasks: list[Task], config: TailorConfig, seed: int
) -> Tailored:
    """One plain rationale at temperature 0 for each distinct question of `questions`; targets stay as they are.

    Of `config` only `max_rationale_tokens` and `check_answers` matter.

    Leaves  rows.jsonl      id, task, question, answer (the target that came with the question), rationale
            rejected.jsonl  the same with `reason`: no_answer, empty_answer, misses_target
            counts.json     per task: rows, agrees, disagrees, rejected by reason
    Raises  StageFailed when a task has no question, or no usable rationale
    Source  ARTE, arXiv:2406.19227v1, sec. 4.1, ablation arms
    """
    asked = {task.name: _distinct(questions, task.name) for task in tasks}
    if empty := [name for name, rows in asked.items() if not rows]:
        raise StageFailed(
            f"answer: task `{empty[0]}`: there is no question in {questions.path}",
            "look at its counts.json and rejected.jsonl: every one was dropped",
        )
    kept: list[Row] = []
    dropped: list[Row] = []
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    with on_demand(writer, out) as opened, progress("answer", sum(map(len, asked.values()))) as advance:
        for task in tasks:
            own, lost = rationales.plain(
                out / "shards" / task.name / "rationales",
                opened,
                task,
                asked[task.name],
                config,
                seed_of(seed, "answer", task.name),
                by_task[task.name],
                f"answer: task `{task.name}`",
                advance,
            )
            kept += own
            dropped += lost
    rationales.leave(out, kept, dropped, by_task)
    return Tailored(out)


def _distinct(questions: Drafts | Tailored, task: str) -> list[Row]:
    """The questions of a task in their order. A draft's id ends with its style, which no longer matters."""
    found: dict[str, Row] = {}
    for row in questions.rows():
        if row.task == task and row.question not in found:
            found[row.question] = {"id": _id(row), "task": task, "question": row.question, "answer": row.answer}
    return list(found.values())


def _id(row: Draft | TailoredRow) -> str:
    return row.id.rpartition("/")[0] if isinstance(row, Draft) else row.id
