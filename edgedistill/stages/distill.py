"""The student is trained on the tailored rows, by one method; a recipe may name several, one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
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
from edgedistill.shards import seed_of
from edgedistill.store import stage
from edgedistill.task import Task
from edgedistill.tutors import Tutor

LEFT_OUT = {
    "too_long": "too long",
    "too_alike": "with too few different responses",
    "alike": "that the student says already",
    "unusable": "without a usable answer",
}
"""What methods count of rows, prompts or answers that were not learned from, and how it reads."""


@stage(version=2)  # v2: tokens are counted, and a pilot learns from every task
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
        own = across([row.task for row in tailored.rows()], config.pilot_rows, seed)
        alone = replace(tutor, weight=1.0, places=own)
        method.train(folder, [rows[place] for place in own], student, config, seed, [alone])
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


def across(tasks: Sequence[str], count: int, seed: int) -> tuple[int, ...]:
    """Up to `count` places, in order: from every task as many, as far as it has them; rows are grouped by task."""
    mixed = list(range(len(tasks)))
    Random(seed_of(seed, "pilot rows")).shuffle(mixed)
    turn: Counter[str] = Counter()
    rounds = []
    for place in mixed:
        rounds.append((turn[tasks[place]], place))
        turn[tasks[place]] += 1
    return tuple(sorted(place for _, place in sorted(rounds, key=lambda one: one[0])[:count]))


def plain_rows(tasks: list[Task], tailored: Tailored) -> list[tuple[str, str]]:
    """Each tailored row as the student meets it: the plain prompt, and the rationale that it learns."""
    descriptions = {task.name: task.info.description for task in tasks}
    return [(plain_prompt(descriptions[row.task], row.question), row.rationale) for row in tailored.rows()]


def _summary(counts: dict[str, Any], trained: Student) -> str:
    losses = [row["loss"] for row in trained.curve()]
    left_out = "".join(f", {counts[name]:,} {word}" for name, word in LEFT_OUT.items() if counts.get(name))
    noted = f", {counts['note']}" if counts.get("note") else ""
    learned = f"{counts['steps']:,} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    return f"{counts['rows']:,} rows{left_out}, {learned}{noted}"
