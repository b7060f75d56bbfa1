"""The student is trained on the tailored rows, by one method; a recipe may name several, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgedistill import components
from edgedistill import tutors as teaching
from edgedistill.artifacts import Student, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_json
from edgedistill.learning import TutoredConfig
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.sections import DistillConfig
from edgedistill.store import stage
from edgedistill.task import Task
from edgedistill.tutors import Tutor


@stage(version=1)
def distill(
    out: Path,
    tailored: Tailored,
    student: Model,
    tasks: list[Task],
    config: DistillConfig,
    seed: int,
    tutors: Sequence[Tutor] = (),
) -> Student:
    """Train the student with the method that the recipe names.

    tutors  whom it learns from beside the rows, where the method has any

    Reads   Tailored: task, question, rationale. The student sees the plain prompt, and learns the rationale.
    Leaves  model/, curve.jsonl; with several tutors tutors.jsonl: teacher, weight, score
    Raises  StageFailed when there is nothing to learn from
    """
    rows = plain_rows(tasks, tailored)
    if not rows:
        raise StageFailed("distill: there are no tailored rows", "raise `tailor.rows` or `tailor.attempts`")
    method: Any = components.load("methods", config.method)

    def pilot(folder: Path, tutor: Tutor) -> Model:
        folder.mkdir(parents=True, exist_ok=True)
        assert isinstance(config, TutoredConfig)
        method.train(folder, rows[: config.pilot_rows], student, config, seed, [replace(tutor, weight=1.0)])
        return replace(student, path=folder / "model")

    if isinstance(config, TutoredConfig):
        drawn = teaching.weighed(out, tutors, tasks, config, seed, pilot)
        counts = method.train(out, rows, student, config, seed, drawn)
        teaching.finish(out)
    else:
        counts = method.train(out, rows, student, config, seed)
    trained = Student(out)
    write_json(out / "counts.json", {**counts, "summary": _summary(counts, trained)})
    return trained


def plain_rows(tasks: list[Task], tailored: Tailored) -> list[tuple[str, str]]:
    """Each tailored row as the student meets it: the plain prompt, and the rationale that it learns."""
    descriptions = {task.name: task.info.description for task in tasks}
    return [(plain_prompt(descriptions[row.task], row.question), row.rationale) for row in tailored.rows()]


def _summary(counts: dict[str, Any], trained: Student) -> str:
    losses = [row["loss"] for row in trained.curve()]
    left_out = f", {counts['too_long']:,} too long" if counts["too_long"] else ""
    noted = f", {counts['note']}" if counts.get("note") else ""
    learned = f"{counts['steps']:,} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    return f"{counts['rows']:,} rows{left_out}, {learned}{noted}"
