"""The line, from a recipe and a target to a bundle.

    recipe.yaml ─┐
                 ├─ plan ─► elicit ─► prefer ─► align ─► tailor ─► distill ─► package ─► validate ─► bundle ─► report
    target.yaml ─┘         Drafts  Preferences  Teacher  Tailored  Student   Candidates  Measurements  Bundle

Only `package`, `validate` and `bundle` read the target, so two devices share everything up to the student. With a store
in dry mode this same function is the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgedistill import inputs
from edgedistill.artifacts import Bundle, Measurements, Student, Teacher
from edgedistill.predictor import calibration
from edgedistill.recipe import Recipe
from edgedistill.schooling import school
from edgedistill.stages.align import align
from edgedistill.stages.bundle import bundle
from edgedistill.stages.elicit import elicit
from edgedistill.stages.package import package
from edgedistill.stages.prefer import prefer
from edgedistill.stages.tailor import tailor
from edgedistill.stages.validate import validate
from edgedistill.store import Store
from edgedistill.target import Target


@dataclass(frozen=True)
class Built:
    """What a build leaves: the report reads it."""

    student: Student
    measurements: Measurements
    bundle: Bundle
    aligned: Teacher | None = None


def build(store: Store, recipe: Recipe, target: Target, test_items: Path | None = None) -> Built:
    """Run every stage that is not cached, in order. `test_items`: a folder with files in place of the tasks' own."""
    tasks, teacher, student = inputs.open_all(recipe, test_items=test_items, may_fetch=not store.dry)
    others = inputs.respondents(recipe, may_fetch=not store.dry)

    writer, aligned = teacher, None
    if recipe.prefer and recipe.align:
        drafts = store.run(elicit, teacher, tasks, recipe.elicit, recipe.seed)
        preferences = store.run(prefer, drafts, student, tasks, recipe.prefer, recipe.seed, others)
        aligned = store.run(align, preferences, teacher, recipe.align, recipe.seed)
        writer = aligned.model(teacher)

    tailored = store.run(tailor, writer, tasks, recipe.tailor, recipe.seed)
    tuned = school(store, recipe, tailored, student, writer, tasks, recipe.seed)

    budgets = target.budgets.replaced_by(recipe.budgets)
    candidates = store.run(package, tuned.model(student), target, recipe.package)
    measured = store.run(
        validate,
        candidates,
        tuned.model(student),
        student,
        tasks,
        target,
        budgets,
        recipe.validation,
        recipe.seed,
        calibration.stored(target.name),
    )
    shipped = store.run(
        bundle, measured, candidates, tuned.model(student), teacher, student, tasks, target, recipe.name
    )
    return Built(tuned, measured, shipped, aligned)
