"""Tokens that a student reads: a model without tokenizer.json counts letters, so that sums are by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill import student_tokens, task
from edgedistill.artifacts import Student, Tailored
from edgedistill.files import write_rows
from edgedistill.methods.sft import Config
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt

NOBODY = Model(Path("nowhere"), "")


def a_task(folder: Path) -> task.Task:
    folder.mkdir()
    (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: counting\ndescription: Count.\nlicence: x\n")
    for part in ("seeds", "validation", "test"):
        rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": f"{n}"} for n in range(4)]
        write_rows(folder / f"{part}.jsonl", rows)
    return task.load(folder)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """(rows of a file that the method left, its name) -> letters read in two passes."""
    row = {"id": "1", "task": "counting", "question": "count", "answer": "1", "rationale": "one <ans>1</ans>"}
    rows = Tailored(write_rows(tmp_path / "rows" / "rows.jsonl", [row, {**row, "id": "2"}]).parent)

    counting = a_task(tmp_path / "counting")

    def count(left: list[dict[str, Any]], name: str) -> int:
        folder = tmp_path / "tuned"
        folder.mkdir()
        if left:
            write_rows(folder / name, left)
        return student_tokens.read(Student(folder), rows, NOBODY, [counting], Config(epochs=2))

    return count


def test_plain_training_reads_the_rows(read: Any) -> None:
    assert read([], "") == 2 * 2 * (len(plain_prompt("Count.", "count")) + len("one <ans>1</ans>"))


def test_every_response_is_read_with_its_prompt(read: Any) -> None:
    assert read([{"prompt": "ab", "responses": ["c", "def"]}], "responses.jsonl") == 2 * (2 + 1 + 2 + 3)


def test_both_sides_of_a_pair_are_read(read: Any) -> None:
    assert read([{"prompt": "ab", "chosen": "c", "rejected": "def"}], "pairs.jsonl") == 2 * (2 + 1 + 2 + 3)


def test_answers_that_were_dropped_are_not_read(read: Any) -> None:
    left = [{"prompt": "ab", "answer": "c", "kept": True}, {"prompt": "ab", "answer": "xyz", "kept": False}]
    assert read(left, "answers.jsonl") == 2 * (2 + 1)
