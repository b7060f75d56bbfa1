"""The line, from a recipe and a target to a bundle.

    recipe.yaml ─┐
                 ├─ plan ─► elicit ─► prefer ─► align ─► tailor ─► distill ─┬───────────────┬─► package ─► evaluate ─► …
    target.yaml ─┘         Drafts  Preferences  Teacher  Tailored  Student  └─ calibrate ───┘  Candidates  Evaluations
                                                                               Calibration
    … ─► validate ─► bundle ─► report
         Measurements

Only `validate` and `bundle` read the target, so two devices share everything up to the candidates and what they are
worth; what cannot keep a device's budgets is not evaluated for it. A student that is trained already begins at
`package`. `calibrate` measures how the student's weights may be rounded, where an exporter's settings ask for it. With
a store in dry mode this same function is the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgedistill import inputs, plan
from edgedistill.artifacts import Bundle, Calibration, Measurements, Tailored, Teacher
from edgedistill.models import Model
from edgedistill.predictor import own_board
from edgedistill.recipe import Recipe
from edgedistill.schooling import school
from edgedistill.stages.align import align
from edgedistill.stages.bundle import bundle
from edgedistill.stages.calibrate import calibrate
from edgedistill.stages.elicit import elicit
from edgedistill.stages.evaluate import evaluate
from edgedistill.stages.package import package
from edgedistill.stages.prefer import prefer
from edgedistill.stages.tailor import tailor
from edgedistill.stages.validate import validate
from edgedistill.store import Store
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.toolchain.runtime import Runtime


@dataclass(frozen=True)
class Built:
    """What a build leaves: the report reads it."""

    measurements: Measurements
    bundle: Bundle
    aligned: Teacher | None = None


@dataclass(frozen=True)
class Taught:
    """The student on its way to the device, and what it learned from."""

    student: Model
    rows: Tailored | None = None
    aligned: Teacher | None = None


def build(
    store: Store, recipe: Recipe, target: Target, test_items: Path | None = None, runtime: Runtime | None = None
) -> Built:
    """Run every stage that is not cached, in order. `test_items`: a folder with files in place of the tasks' own.
    `runtime`: programs that ship in the bundle."""
    recipe = inputs.for_target(recipe, target)
    tasks, teacher, student = inputs.open_all(recipe, test_items=test_items, may_fetch=not store.dry)
    budgets, text = target.budgets.replaced_by(recipe.budgets), inputs.text(recipe)

    # Without `distill` the student is packaged as it is.
    taught = teach(store, recipe, tasks, teacher, student) if recipe.distill and teacher else Taught(student)
    tuned, calibration = taught.student, calibrated(store, recipe, tasks, taught)
    candidates = store.run(package, tuned, recipe.package, taught.rows, tasks, calibration)
    how, pair = (recipe.validation, recipe.seed, inputs.runtimes(recipe)), own_board.stored(target.name)
    hopeless = plan.hopeless(candidates, tuned, target, budgets, recipe.validation.context, pair)
    evaluated = store.run(evaluate, candidates, tuned, student, tasks, text, *how, tuple(hopeless))
    measured = store.run(validate, evaluated, candidates, tuned, tasks, target, budgets, *how, pair, hopeless)
    shipped = store.run(bundle, measured, candidates, tuned, teacher, student, tasks, target, recipe.name, runtime)
    return Built(measured, shipped, taught.aligned)


def teach(store: Store, recipe: Recipe, tasks: list[Task], teacher: Model, student: Model) -> Taught:
    """The teacher writes what helps this student; the student learns it."""
    others, writer, aligned = inputs.respondents(recipe, may_fetch=not store.dry), teacher, None
    if recipe.prefer and recipe.align:
        drafts = store.run(elicit, teacher, tasks, recipe.elicit, recipe.seed)
        preferences = store.run(prefer, drafts, student, tasks, recipe.prefer, recipe.seed, others)
        aligned = store.run(align, preferences, teacher, recipe.align, recipe.seed)
        writer = aligned.model(teacher)
    rows = store.run(tailor, writer, tasks, recipe.tailor, recipe.seed)
    tuned = school(store, recipe, rows, student, writer, tasks, recipe.seed)
    return Taught(tuned.model(student), rows, aligned)


def calibrated(store: Store, recipe: Recipe, tasks: list[Task], taught: Taught) -> Calibration | None:
    """How the student's weights may be rounded; None where no exporter asks."""
    if not any(config.needs_calibration for config in recipe.package):
        return None
    source = inputs.calibration_source(recipe, taught.rows, tasks)
    measures = any(config.measures_tensors for config in recipe.package)
    return store.run(calibrate, taught.student, source, tasks, recipe.calibrate, measures, recipe.seed)
