"""How many tokens a student read in training, counted in what its method left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgedistill import context
from edgedistill.artifacts import Student, Tailored
from edgedistill.files import read_rows
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.sections import DistillConfig
from edgedistill.task import Task


def read(tuned: Student, rows: Tailored, student: Model, tasks: list[Task], config: DistillConfig) -> int:
    """Prompts and answers of all passes, each sequence counted; padding and the template's own tokens are not.

    A method that draws answers leaves them in a file; of one that draws new ones in every pass the rows' own answers
    stand for them.
    """
    texts = _left_behind(tuned.path)
    if texts is None:
        descriptions = {task.name: task.info.description for task in tasks}
        texts = [(plain_prompt(descriptions[row.task], row.question), row.rationale) for row in rows.rows()]
    count = context.counter(student) or len
    return sum(count(prompt) + count(answer) for prompt, answer in texts) * int(getattr(config, "epochs", 1))


def _left_behind(folder: Path) -> list[tuple[str, str]] | None:
    """(prompt, answer) of every sequence that was learned from; None where the method left no such file."""
    files = {"responses.jsonl": _responses, "pairs.jsonl": _pairs, "answers.jsonl": _answers}
    return next((list(take(folder / name)) for name, take in files.items() if (folder / name).is_file()), None)


def _responses(path: Path) -> Iterator[tuple[str, str]]:
    return ((row["prompt"], text) for row in read_rows(path) for text in row["responses"])


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    return ((row["prompt"], row[side]) for row in read_rows(path) for side in ("chosen", "rejected"))


def _answers(path: Path) -> Iterator[tuple[str, str]]:
    return ((row["prompt"], row["answer"]) for row in read_rows(path) if row["kept"])
