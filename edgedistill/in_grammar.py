"""Answers within the tasks' grammars: what the app gets when it hands the bundle's grammar to the runtime.

A free answer that keeps to the grammar is the grammar's answer too, so only the others are asked for again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedistill import accuracy
from edgedistill.accuracy import Questions, Row
from edgedistill.engine import user
from edgedistill.files import read_rows, write_rows
from edgedistill.log import progress
from edgedistill.prompts import plain_prompt
from edgedistill.task import Item, Task


def answer(out: Path, name: str, engine: Any, questions: Questions, free: list[Row]) -> list[Row] | None:
    """The graded answers of one model to the items of tasks with a grammar; None where there is none, or where the
    runtime knows no grammars.

    free    the model's free answers, in the order of the items
    Leaves  answers/<name>.grammar.jsonl
    """
    asked = [(task, item, row) for (task, item), row in zip(questions.items, free, strict=True) if task.grammar]
    if not asked or not hasattr(engine, "generate_within"):
        return None
    path = accuracy.path_of(out, f"{name}.grammar")
    if not path.is_file():
        write_rows(path, _answers(engine, asked, questions.max_tokens, name))
    return list(read_rows(path))


def _answers(engine: Any, asked: list[tuple[Task, Item, Row]], max_tokens: int, name: str) -> list[Row]:
    texts = [row["text"] for _, _, row in asked]
    for task in {task.name: task for task, _, _ in asked}.values():
        assert task.grammar is not None
        grammar = task.grammar.read_text(encoding="utf-8")
        own = [place for place, (other, _, _) in enumerate(asked) if other.name == task.name]
        is_kept = engine.keeps_to(grammar, [texts[place] for place in own])
        again = [place for place, kept in zip(own, is_kept, strict=True) if not kept]
        said = [user(plain_prompt(task.info.description, asked[place][1].question)) for place in again]
        with progress(f"answers of {name} within the grammar", len(said), 0) as advance:
            found = engine.generate_within(grammar, said, max_tokens=max_tokens, on_done=advance)
        for place, text in zip(again, found, strict=True):
            texts[place] = text
    return [accuracy.graded(task, item, text) for (task, item, _), text in zip(asked, texts, strict=True)]
