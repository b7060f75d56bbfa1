"""The student's training as a line of its own: the methods of `distill`, one after another, each a stage in the store.

rows ─┬─ teach (per teacher, for methods that read what teachers wrote down) ─┐
      └───────────────────────────────────────────────────────────────────────┴─ distill ─► student ─► distill ─► …
"""

from __future__ import annotations

from collections.abc import Sequence

from edgedistill import inputs
from edgedistill.artifacts import Student, Tailored
from edgedistill.learning import TutoredConfig
from edgedistill.models import Model
from edgedistill.recipe import Recipe
from edgedistill.sections import DistillConfig
from edgedistill.stages.distill import distill
from edgedistill.stages.teach import teach
from edgedistill.store import Store
from edgedistill.task import Task
from edgedistill.tutors import Tutor
from edgedistill.vocabulary import Wording


def school(
    store: Store, recipe: Recipe, rows: Tailored, student: Model, writer: Model, tasks: list[Task], seed: int
) -> Student:
    """The student after all methods of the recipe; each method goes on with the student of the one before.

    writer  the model that wrote the rows: the recipe's own teacher
    """
    # All that teachers write down comes first, so that `--until distill` ends behind the last method.
    asked = [tutors_of(store, recipe, config, rows, student, writer, tasks) for config in recipe.distill]
    model = student
    for config, tutors in zip(recipe.distill, asked, strict=True):
        tuned = learned(store, config, rows, model, tasks, seed, tutors)
        model = tuned.model(student)
    return tuned


def learned(
    store: Store,
    config: DistillConfig,
    rows: Tailored,
    student: Model,
    tasks: list[Task],
    seed: int,
    tutors: Sequence[Tutor],
) -> Student:
    """The student after one method."""
    if config.has_tutors:
        return store.run(distill, rows, student, tasks, config, seed, tutors)
    return store.run(distill, rows, student, tasks, config, seed)


def tutors_of(
    store: Store,
    recipe: Recipe,
    config: DistillConfig,
    rows: Tailored,
    student: Model,
    writer: Model,
    tasks: list[Task],
) -> list[Tutor]:
    """Whom a method learns from: the writer of the rows and the config's further teachers; with their hints."""
    if not isinstance(config, TutoredConfig):
        return []
    own = [Tutor(writer, config.own_weight)] if config.own_weight else []
    found = [*own, *inputs.tutors(recipe, config, may_fetch=not store.dry)]
    hints = config.hints
    if hints is None:
        return found
    wording = Wording(student)
    return [Tutor(one.model, one.weight, store.run(teach, rows, one.model, wording, tasks, hints)) for one in found]
