"""The student is trained on the tailored rows."""

from __future__ import annotations

from pathlib import Path

from edgedistill import components
from edgedistill.artifacts import Student, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_json
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.sections import DistillConfig
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=1)
def distill(
    out: Path, tailored: Tailored, student: Model, tasks: list[Task], config: DistillConfig, seed: int
) -> Student:
    """Train the student with the method that the recipe names.

    Reads   Tailored: task, question, rationale. The student sees the plain prompt, and learns the rationale.
    Leaves  model/, curve.jsonl
    Raises  StageFailed when there is nothing to learn from
    """
    descriptions = {task.name: task.info.description for task in tasks}
    rows = [(plain_prompt(descriptions[row.task], row.question), row.rationale) for row in tailored.rows()]
    if not rows:
        raise StageFailed("distill: there are no tailored rows", "raise `tailor.rows` or `tailor.attempts`")
    counts = components.load("methods", config.method).train(out, rows, student, config, seed)
    trained = Student(out)
    write_json(out / "counts.json", {**counts, "summary": _summary(counts, trained)})
    return trained


def _summary(counts: dict[str, int], trained: Student) -> str:
    losses = [row["loss"] for row in trained.curve()]
    left_out = f", {counts['too_long']:,} too long" if counts["too_long"] else ""
    return f"{counts['rows']:,} rows{left_out}, {counts['steps']:,} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}"
