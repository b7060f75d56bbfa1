"""The line, from a recipe and a target to a bundle.

    recipe.yaml ─┐
                 ├─ plan ─► elicit ─► prefer ─► align ─► tailor ─► distill ─► package ─► validate ─► bundle ─► report
    target.yaml ─┘         Drafts  Preferences  Teacher  Tailored  Student   Candidates  Measurements  Bundle

Only `package`, `validate` and `bundle` read the target, so two devices share everything up to the student. A student
that is trained already begins there. Between the two, `calibrate` measures how the student's weights may be rounded,
where an exporter's settings ask for it. With a store in dry mode this same function is the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgedistill import inputs
from edgedistill.artifacts import Bundle, Measurements, Teacher
from edgedistill.predictor import own_board
from edgedistill.recipe import Recipe
from edgedistill.schooling import school
from edgedistill.stages.align import align
from edgedistill.stages.bundle import bundle
from edgedistill.stages.calibrate import calibrate
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

    measurements: Measurements
    bundle: Bundle
    aligned: Teacher | None = None


def build(store: Store, recipe: Recipe, target: Target, test_items: Path | None = None) -> Built:
    """Run every stage that is not cached, in order. `test_items`: a folder with files in place of the tasks' own."""
    tasks, teacher, student = inputs.open_all(recipe, test_items=test_items, may_fetch=not store.dry)
    others, text = inputs.respondents(recipe, may_fetch=not store.dry), inputs.text(recipe)

    aligned, tailored, tuned = None, None, student
    if recipe.distill and teacher:  # else the student is packaged as it is
        writer = teacher
        if recipe.prefer and recipe.align:
            drafts = store.run(elicit, teacher, tasks, recipe.elicit, recipe.seed)
            preferences = store.run(prefer, drafts, student, tasks, recipe.prefer, recipe.seed, others)
            aligned = store.run(align, preferences, teacher, recipe.align, recipe.seed)
            writer = aligned.model(teacher)
        tailored = store.run(tailor, writer, tasks, recipe.tailor, recipe.seed)
        tuned = school(store, recipe, tailored, student, writer, tasks, recipe.seed).model(student)

    budgets = target.budgets.replaced_by(recipe.budgets)
    calibration = None
    if any(config.needs_calibration for config in recipe.package):
        source = inputs.calibration_source(recipe, tailored, tasks)
        measures = any(config.measures_tensors for config in recipe.package)
        calibration = store.run(calibrate, tuned, source, tasks, recipe.calibrate, measures, recipe.seed)
    candidates = store.run(package, tuned, target, recipe.package, tailored, tasks, calibration)
    measured = store.run(
        validate,
        candidates,
        tuned,
        student,
        tasks,
        text,
        target,
        budgets,
        recipe.validation,
        recipe.seed,
        own_board.stored(target.name),
        inputs.runtimes(recipe),
    )
    shipped = store.run(bundle, measured, candidates, tuned, teacher, student, tasks, target, recipe.name)
    return Built(measured, shipped, aligned)
