"""What a recipe names beside itself, opened and checked: the problems of all of it in one message."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import indent

from edgedistill import components, context, duplicates, engine, models, perplexity, task, versions
from edgedistill import tutors as teaching
from edgedistill.artifacts import Tailored
from edgedistill.errors import UsageError
from edgedistill.learning import TutoredConfig
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.perplexity import Text
from edgedistill.recipe import Recipe
from edgedistill.sections import DistillConfig, TextConfig
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.tutors import Tutor

_ROLES = ("teacher", "student")


def open_all(
    recipe: Recipe, *, test_items: Path | None = None, may_fetch: bool = True
) -> tuple[list[Task], Model | None, Model]:
    """Tasks, teacher (None where nothing is trained) and student. Raises one UsageError with the problems of all.

    test_items   a folder whose files replace the tasks' own test items
    may_fetch    False for a plan: hub models are looked up here only, and tasks need not be prepared yet
    """
    problems: list[UsageError] = []
    tasks = _tasks(recipe, problems, test_items, needs_items=may_fetch)
    found = _models(recipe, problems, may_fetch)
    if recipe.prefer and recipe.align and not problems:
        try:
            context.check(found["student"], [task for task in tasks if task.has_items], recipe.prefer)
        except UsageError as error:
            problems.append(error)
    if (student := found.get("student")) and student.is_here:
        _check_package(recipe, student, problems)
    if student and (teacher := found.get("teacher")):
        _check_teaching(recipe, teacher, student, problems, may_fetch)
    _raise(recipe, problems)
    return tasks, found.get("teacher"), found["student"]


def for_target(recipe: Recipe, target: Target) -> Recipe:
    """The recipe with those exporters alone that the target has a runtime for. Raises UsageError where it has none."""
    formats = [components.load("exporters", config.exporter).FORMAT for config in recipe.package]
    lacking = ", ".join(dict.fromkeys(name for name in formats if name not in target.formats))
    if not lacking:
        return recipe
    kept = tuple(one for one, name in zip(recipe.package, formats, strict=True) if name in target.formats)
    said = f"target `{target.name}` has no runtime for {lacking}"
    if not kept:
        raise UsageError(
            f"{said}; it has: {', '.join(target.formats)}",
            "choose another exporter in the recipe's `package`, or add the format to the target's `formats`",
        )
    say(f"{said}: left out")
    return recipe.model_copy(update={"package": kept})


def text(recipe: Recipe) -> Text | None:
    """The running text that stands in where there is no task. Raises UsageError."""
    return None if recipe.tasks else perplexity.open_text(recipe.text, recipe.folder)


def calibration_source(recipe: Recipe, tailored: Tailored | None, tasks: list[Task]) -> Tailored | Text:
    """What quantization is calibrated on: the tailored rows, unless the recipe names a text.

    Raises  UsageError for a text that candidates are judged on too. `tailor` has left such rows out already
    """
    if tailored and recipe.calibrate.file is None:
        return tailored
    config = TextConfig(file=recipe.calibrate.file)
    found = perplexity.open_text(config, recipe.folder, perplexity.FOR_CALIBRATION, "calibrate.file")
    judged = {task.fold(document) for document in exam.documents()} if (exam := text(recipe)) else set()
    if judged & {task.fold(document) for document in found.documents()}:
        raise UsageError(
            f"calibrate.file: {found.path.name} is the text that candidates are judged on", "give another text"
        )
    graded = [item.question for made in tasks if made.has_items for item in (*made.validation, *made.test)]
    if shown := found.first_of(graded):
        raise UsageError(
            f"calibrate.file: {found.path.name} holds a question of the exam or the test: {shown[:80]!r}",
            "leave it out: what quantization has seen is not what it may be judged on",
        )
    return found


def runtimes(recipe: Recipe) -> dict[str, str]:
    """What computes the candidates' figures, with versions: name -> version."""
    formats = [components.load("exporters", config.exporter).FORMAT for config in recipe.package]
    harness = {"lm-eval": versions.of_package("lm-eval")} if recipe.validation.lm_eval else {}
    return {**engine.runtimes(formats), **harness}


def respondents(recipe: Recipe, *, may_fetch: bool = True) -> list[Model]:
    """The models that sit the validation items beside the student, for `prefer.exam: irt`. Raises UsageError."""
    if recipe.prefer is None or recipe.prefer.exam != "irt":
        return []
    return [
        models.resolve(config, recipe.folder, f"prefer.respondents.{number}", may_fetch=may_fetch)
        for number, config in enumerate(recipe.prefer.respondents)
    ]


def tutors(recipe: Recipe, config: TutoredConfig, *, may_fetch: bool = True) -> list[Tutor]:
    """The teachers that a method names beside the recipe's own. Raises UsageError."""
    return [
        Tutor(models.resolve(one, recipe.folder, f"distill.teachers.{number}", may_fetch=may_fetch), one.weight)
        for number, one in enumerate(config.teachers)
    ]


def check_teaching(
    recipe: Recipe, config: DistillConfig, teacher: Model, student: Model, *, may_fetch: bool = True
) -> None:
    """Raises UsageError when the student cannot learn by this method from the recipe's teacher and the method's."""
    if isinstance(config, TutoredConfig):
        own = [Tutor(teacher)] if config.own_weight else []
        teaching.check(config, [*own, *tutors(recipe, config, may_fetch=may_fetch)], student)


def check(recipe: Recipe) -> list[str]:
    """The same problems without a network. Returns what a build still needs: models to fetch, tasks to prepare."""
    tasks, *found = open_all(recipe, may_fetch=False)
    text(recipe)
    calibration_source(recipe, None, tasks)
    others = [
        tutor.model
        for config in recipe.distill
        if isinstance(config, TutoredConfig)
        for tutor in tutors(recipe, config, may_fetch=False)
    ]
    return missing(tasks, [*filter(None, found), *respondents(recipe, may_fetch=False), *others])


def missing(tasks: list[Task], found: list[Model]) -> list[str]:
    """What a build has to fetch, and what the user has to prepare for it, one paragraph each."""
    notes = [f"{model.name} will be downloaded" for model in found if not model.is_here]
    unprepared = [task for task in tasks if not task.has_items]
    if unprepared:
        names = ", ".join(task.name for task in unprepared)
        notes.append(f"{len(unprepared)} of {len(tasks)} tasks ship without items, to be prepared by you: {names}")
        notes += dict.fromkeys((task.info.prepare or "").strip() for task in unprepared)
    return notes


def _tasks(recipe: Recipe, problems: list[UsageError], test_items: Path | None, needs_items: bool) -> list[Task]:
    exam = recipe.prefer.exam_size if recipe.prefer and recipe.align else 0
    found = []
    for name in recipe.tasks:
        try:
            folder = recipe.folder / os.path.expanduser(name)
            made = task.load(folder, test_items=test_items, needs_items=needs_items)
            found.append(made)
        except UsageError as error:
            problems.append(error)
            continue
        if made.has_items and (items := len(made.validation)) < exam:
            problems.append(
                UsageError(
                    f"prefer.exam_size: {exam}, but task `{made.name}` has {items} items in validation.jsonl",
                    "lower it, or add items",
                )
            )
        elif made.has_items:
            _check_duplicates(recipe, made, problems)
    return found


def _check_duplicates(recipe: Recipe, made: Task, problems: list[UsageError]) -> None:
    limits = {"elicit": recipe.elicit.near_duplicate} if recipe.prefer and recipe.align else {}
    if recipe.distill:
        limits["tailor"] = recipe.tailor.near_duplicate
    for section, near in limits.items():
        try:
            duplicates.check(made, near, f"{section}.near_duplicate")
        except UsageError as error:
            problems.append(error)


def _check_package(recipe: Recipe, student: Model, problems: list[UsageError]) -> None:
    """Training keeps the student's shape, so what cannot be made of it is known before."""
    tensors = student.shape().tensors
    problems += [
        UsageError(f"package: {problem}", "change it in the recipe's `package`")
        for config in recipe.package
        for problem in config.problems(tensors)
    ]


def _check_teaching(
    recipe: Recipe, teacher: Model, student: Model, problems: list[UsageError], may_fetch: bool
) -> None:
    for config in recipe.distill:
        try:
            check_teaching(recipe, config, teacher, student, may_fetch=may_fetch)
        except UsageError as error:
            problems.append(error)


def _models(recipe: Recipe, problems: list[UsageError], may_fetch: bool) -> dict[str, Model]:
    found = {}
    for role in _ROLES:
        config = getattr(recipe, role)
        if config is None:
            continue
        try:
            found[role] = models.resolve(config, recipe.folder, role, may_fetch=may_fetch)
        except UsageError as error:
            problems.append(error)
    return found


def _raise(recipe: Recipe, problems: list[UsageError]) -> None:
    told = {error.problem: error for error in problems}  # every task says it when the folder of test items is missing
    if len(told) == 1:
        raise problems[0]
    if told:
        lines = "\n".join(indent(problem, "  ") for problem in told)
        hints = dict.fromkeys(error.hint for error in told.values() if error.hint)
        raise UsageError(f"recipe `{recipe.name}` cannot be built\n{lines}", "; ".join(hints))
