"""Questions with options, answered without a word: the option whose text is the likeliest is the model's choice.

Said at once, without the reasoning that the model was taught to write first, so the share that is right may be another
than that of its written answers. Both are shown; `validate.gate` says which one decides.

Source  Brown et al. 2020, arXiv:2005.14165v4, sec. 2.4, without their normalizations
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from edgedistill import accuracy
from edgedistill.accuracy import Questions, Row
from edgedistill.engine import Engine, user
from edgedistill.files import read_rows, write_rows
from edgedistill.log import progress
from edgedistill.options import closed_answers, texts_of
from edgedistill.prompts import plain_prompt
from edgedistill.task import Item, Task

MOST_OPTIONS = 10
"""Distinct answers of a task's validation items up to which each of its questions has these as options."""


def choose(out: Path, name: str, engine: Engine, questions: Questions) -> list[Row] | None:
    """The graded choices of one model, in the order of the items; None where no item has options.

    Leaves  answers/<name>.likelihood.jsonl
    """
    asked = _with_options(questions)
    if not asked:
        return None
    path = accuracy.path_of(out, f"{name}.likelihood")
    if not path.is_file():
        write_rows(path, _choices(engine, asked, name))
    return list(read_rows(path))


def _with_options(questions: Questions) -> list[tuple[Task, Item, list[str]]]:
    """(task, item, texts of its options)"""
    closed = {task.name: closed_answers(task.validation, MOST_OPTIONS) for task in questions.tasks}
    found = [(task, item, texts_of(item, closed[task.name])) for task, item in questions.items]
    return [one for one in found if len(one[2]) > 1]


def _choices(engine: Engine, asked: list[tuple[Task, Item, list[str]]], name: str) -> list[Row]:
    conversations: list[Any] = []
    for task, item, texts in asked:
        conversations += [user(plain_prompt(task.info.description, item.question))] * len(texts)
    answers = [text for _, _, texts in asked for text in texts]
    with progress(f"options of {name}", len(answers), 0) as advance:
        sums = iter([math.fsum(one) for one in engine.answer_log_probs(conversations, answers, on_done=advance)])
    return [_graded(task, item, texts, [next(sums) for _ in texts]) for task, item, texts in asked]


def _graded(task: Task, item: Item, texts: list[str], sums: list[float]) -> Row:
    """The right answer stands first, so of equally likely ones the last is taken: a tie is no knowledge."""
    best = max(range(len(sums)), key=lambda place: (sums[place], place))
    return {**accuracy.graded(task, item, texts[best]), "text": ""}
