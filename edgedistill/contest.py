"""Ways to do a thing, held against each other on one recipe: training methods, ways of pairing, signals.

    table      what differs                                 what is the same
    methods    how the student is trained                   original teacher's data, tokens that the student reads (5%)
    pairs      ties and strength of the preference pairs    drafts, scores, and the whole line after them
    signals    how drafts are scored                        drafts, and the whole line after the scores

All arms of a table are graded on the same test items, with every seed; one that fails is told of, and the others go
on. Beside its table a signal is judged by what it is for: how its scores rank groups of drafts, against what
fine-tuning on each group really gained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgedistill import inputs, method_arms
from edgedistill.contenders import OWN, Entry, Failure, Judged, Line
from edgedistill.errors import StageFailed, UsageError
from edgedistill.method_arms import SEVERAL
from edgedistill.pace import Pace
from edgedistill.recipe import Recipe
from edgedistill.store import Store
from edgedistill.task import Task


@dataclass
class Contest:
    """What the report reads. A table is a list of runs, and a run has one entry per arm that did not fail."""

    seeds: tuple[int, ...]
    tests: dict[str, list[Task]]
    methods: list[list[Entry]] = field(default_factory=list)
    pairs: list[list[Entry]] = field(default_factory=list)
    signals: list[list[Entry]] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def contest(store: Store, recipe: Recipe, test_items: Path | None = None) -> Contest:
    """Run every arm of every table with every seed; what is cached, or shared by arms, is done once.

    Raises  StageFailed when no arm at all comes to its end, or the disk is full
    """
    check(recipe)
    tasks, teacher, student = inputs.open_all(recipe)
    assert teacher
    for arm in recipe.methods.methods:
        for training in method_arms.trainings(recipe, arm):
            inputs.check_teaching(recipe, training.config, teacher, student)
    tests = {OWN: tasks}
    if test_items:
        tests[test_items.resolve().name] = inputs.open_all(recipe, test_items=test_items)[0]
    asked = recipe.methods
    seeds = tuple(range(recipe.seed, recipe.seed + asked.seeds))
    arms = len(asked.methods) + len(asked.pairs) + len(asked.signals) + bool(asked.signals)
    found = Contest(seeds, tests)
    line = Line(store, recipe, tests, teacher, student, Pace(len(seeds), arms), found.failures)
    for seed in seeds:
        found.methods.append(line.methods(seed))
        found.pairs.append(line.pairs(seed))
        found.signals.append(line.signals(seed))
        if asked.signals and (judged := line.judged(seed)):
            found.judged.append(judged)
    if found.failures and not any(map(any, (found.methods, found.pairs, found.signals))):
        first = found.failures[0]
        raise StageFailed(f"methods: no arm came to its end; the first, {first.arm}: {first.reason}")
    return found


def check(recipe: Recipe) -> None:
    """Raises UsageError when the recipe cannot be compared, before anything is run."""
    asked = recipe.methods
    if not recipe.distill:
        raise UsageError(
            f"recipe `{recipe.name}` trains nothing, and methods are compared by what they train",
            "add `teacher`, `tasks` and `distill`",
        )
    if (asked.pairs or asked.signals) and not (recipe.prefer and recipe.align):
        raise UsageError(
            f"recipe `{recipe.name}` has no `prefer` and `align`, and ways of pairing and signals are compared by them",
            "add the two sections, or leave these tables out: `--set methods.pairs=[] --set methods.signals=[]`",
        )
    for arm in asked.methods:
        method_arms.trainings(recipe, arm)
    for signal in asked.signals:
        _check_signal(recipe, signal)
    if SEVERAL in asked.methods and not method_arms.has_teachers(recipe) and not recipe.align:
        raise UsageError(
            f"methods: arm `{SEVERAL}` has one teacher: recipe `{recipe.name}` has no `align` to make a second",
            f"name others as `methods.options.{SEVERAL}.teachers`, or leave the arm out of `methods.methods`",
        )


def _check_signal(recipe: Recipe, signal: str) -> None:
    try:
        method_arms.signal_config(recipe, signal).check_student(recipe.student)
    except ValueError as error:
        raise UsageError(f"methods.signals: {error}", "leave it out of `methods.signals`") from None
