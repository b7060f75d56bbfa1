"""ARTE's arms: the same student, trained on data that was made in other ways.

    arm              questions from      rationales from
    none             the student as it comes, not trained
    original         original teacher    original teacher, of four styles the best-scoring one of each question
    one-style        original teacher    original teacher, the style with the best mean score of the task
    rationale-only   original teacher    aligned teacher
    question-only    aligned teacher     original teacher, plain prompt
    arte             aligned teacher     aligned teacher

Every arm has the same number of rows per task, the same student, training and test items, so that arms differ in their
data alone. A run with seed s is the whole line with that seed: drafts, exam, aligned teacher, data and training. Its
first four stages are those of `build` with the same seed, so what a build has made is taken from the store.

Source  ARTE, arXiv:2406.19227v1, sec. 4.1 and 5.1; `one-style` is of its appendix C
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgedistill import inputs
from edgedistill.artifacts import Drafts, Graded, Preferences, Tailored, Teacher
from edgedistill.errors import UsageError
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.recipe import Recipe
from edgedistill.schooling import school
from edgedistill.stages.align import align
from edgedistill.stages.answer import answer
from edgedistill.stages.choose import BEST, ONE_STYLE, choose
from edgedistill.stages.elicit import elicit
from edgedistill.stages.grade import examples, grade
from edgedistill.stages.prefer import prefer
from edgedistill.stages.sample import sample
from edgedistill.stages.tailor import tailor
from edgedistill.store import Store
from edgedistill.task import Task


@dataclass(frozen=True)
class Arm:
    """One student of one run."""

    name: str
    data: Tailored | None
    """What it was trained on; None for the student as it comes."""
    graded: Graded


@dataclass(frozen=True)
class Run:
    """All arms with one seed, and what they were made of."""

    seed: int
    drafts: Drafts
    preferences: Preferences
    aligned: Teacher
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Compared:
    """What the report reads."""

    tasks: list[Task]
    runs: tuple[Run, ...]


def arms(store: Store, recipe: Recipe, test_items: Path | None = None) -> Compared:
    """Run every arm with every seed; what is cached, or shared by arms, is done once."""
    tasks, teacher, student = inputs.open_all(recipe, test_items=test_items)
    others = inputs.respondents(recipe)
    check(recipe, tasks)
    assert teacher
    # The student as it comes is graded first: a prompt that is too long for it shows before anything is generated.
    untrained = Arm("none", None, store.run(grade, student, tasks, recipe.arms, recipe.seed))
    seeds = range(recipe.seed, recipe.seed + recipe.arms.seeds)
    runs = [_run(store, recipe, seed, tasks, teacher, student, others, untrained) for seed in seeds]
    return Compared(tasks, tuple(runs))


def check(recipe: Recipe, tasks: list[Task]) -> None:
    """Raises UsageError when the recipe cannot be compared, before anything is run."""
    if recipe.prefer is None or recipe.align is None:
        raise UsageError(
            f"recipe `{recipe.name}` has no `prefer` and `align`, and arms compare with and without them",
            "add the two sections; `align: {}` takes the defaults",
        )
    if recipe.tailor.check_answers:
        raise UsageError(
            f"recipe `{recipe.name}` drops rationales that miss their target, in the aligned teacher's arms alone",
            "the gain of dropping would pass for that of aligning: add `--set tailor.check_answers=false`",
        )
    for task in tasks:
        examples(task, max(recipe.arms.shots))


def _run(
    store: Store,
    recipe: Recipe,
    seed: int,
    tasks: list[Task],
    teacher: Model,
    student: Model,
    others: list[Model],
    untrained: Arm,
) -> Run:
    """One run of the line, up to the tailored data, and from there all arms."""
    assert recipe.prefer and recipe.align and recipe.distill
    say(f"seed {seed}")
    drafts = store.run(elicit, teacher, tasks, recipe.elicit, seed)
    preferences = store.run(prefer, drafts, student, tasks, recipe.prefer, seed, others)
    aligned = store.run(align, preferences, teacher, recipe.align, seed)
    tailored = store.run(tailor, aligned.model(teacher), tasks, recipe.tailor, seed)

    made: dict[str, Tailored] = {}
    names = recipe.arms.names
    if "original" in names:
        made["original"] = store.run(choose, drafts, preferences, BEST, seed)
    if "one-style" in names:
        made["one-style"] = store.run(choose, drafts, preferences, ONE_STYLE, seed)
    if "rationale-only" in names:
        made["rationale-only"] = store.run(answer, drafts, aligned.model(teacher), tasks, recipe.tailor, seed)
    if "question-only" in names:
        made["question-only"] = store.run(answer, tailored, teacher, tasks, recipe.tailor, seed)
    if "arte" in names:
        made["arte"] = tailored

    found = [untrained] if "none" in names else []
    for name, data in made.items():
        say(f"seed {seed}, arm {name}")
        rows = store.run(sample, data, list(made.values()), recipe.arms.rows, seed)
        # The arms differ in their data; who teaches beside it, where the method asks, is the same for all.
        tuned = school(store, recipe, rows, student, teacher, tasks, seed)
        # The recipe's own seed: it draws the test items, and they are the same for every run.
        graded = store.run(grade, tuned.model(student), tasks, recipe.arms, recipe.seed)
        found.append(Arm(name, rows, graded))
    return Run(seed, drafts, preferences, aligned, tuple(found))
