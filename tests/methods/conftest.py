"""The embedded teacher and student, and rows of their task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgedistill import task, yaml_file
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt

QUICKSTART = yaml_file.shipped("recipes") / "quickstart"

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Pair:
    """Embedded teacher and student, with rows to learn and rows that are held out."""

    teacher: Model
    student: Model
    rows: Rows
    held_out: Rows
    many: Rows
    """More to learn: few rankings are soon learned by heart."""


@pytest.fixture(scope="session")
def pair() -> Pair:
    home = task.load(QUICKSTART / "home")
    rows = [
        (plain_prompt(home.info.description, item.question), f"<ans>{item.answer}</ans>")
        for item in home.validation[:144]
    ]
    teacher, student = (Model(QUICKSTART / "models" / name, name) for name in ("teacher", "student"))
    return Pair(teacher, student, rows[:32], rows[32:48], [*rows[:32], *rows[48:]])


@pytest.fixture(scope="session")
def loss_of() -> Callable[..., float]:
    """The loss of a lesson's first rows, averaged as in training, for the model in a folder; tutors take turns."""

    def measure(lesson: Any, folder: Path, rows: int, tutors: int = 1) -> float:
        import torch

        from edgedistill.ml import weights
        from edgedistill.ml.lessons import Item

        model = weights.load(Model(folder, ""), torch.float32, 512).eval()
        passes = [[Item(row, row, tutor) for row in range(tutor, rows, tutors)] for tutor in range(tutors)]
        with torch.no_grad():
            total = sum(float(lesson.loss(model, items)[0]) for items in passes)
        return total / sum(map(lesson.count, passes))

    return measure
