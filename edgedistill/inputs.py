"""What a recipe names beside itself, opened and checked: the problems of all of it in one message."""

from __future__ import annotations

import os
from textwrap import indent

from edgedistill import models, task
from edgedistill.errors import UsageError
from edgedistill.models import Model
from edgedistill.recipe import Recipe
from edgedistill.task import Task

_ROLES = ("teacher", "student")


def open_all(recipe: Recipe) -> tuple[list[Task], Model, Model]:
    """Tasks, teacher and student. Raises one UsageError with the problems of all."""
    problems: list[UsageError] = []
    tasks = _tasks(recipe, problems)
    found = _models(recipe, problems)
    _raise(recipe, problems)
    return tasks, found["teacher"], found["student"]


def check(recipe: Recipe) -> None:
    """The same problems without a network: of a hub's models, what can be told before they are fetched."""
    problems: list[UsageError] = []
    _tasks(recipe, problems)
    for role in _ROLES:
        try:
            models.check_offline(getattr(recipe, role), recipe.folder, role)
        except UsageError as error:
            problems.append(error)
    _raise(recipe, problems)


def _tasks(recipe: Recipe, problems: list[UsageError]) -> list[Task]:
    exam = recipe.prefer.exam_size if recipe.prefer and recipe.align else 0
    found = []
    for name in recipe.tasks:
        try:
            found.append(task.load(recipe.folder / os.path.expanduser(name)))
        except UsageError as error:
            problems.append(error)
            continue
        if (items := len(found[-1].validation)) < exam:
            problems.append(
                UsageError(
                    f"prefer.exam_size: {exam}, but task `{found[-1].name}` has {items} items in validation.jsonl",
                    "lower it, or add items",
                )
            )
    return found


def _models(recipe: Recipe, problems: list[UsageError]) -> dict[str, Model]:
    found = {}
    for role in _ROLES:
        try:
            found[role] = models.resolve(getattr(recipe, role), recipe.folder, role)
        except UsageError as error:
            problems.append(error)
    return found


def _raise(recipe: Recipe, problems: list[UsageError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        told = "\n".join(indent(error.problem, "  ") for error in problems)
        hints = dict.fromkeys(error.hint for error in problems if error.hint)
        raise UsageError(f"recipe `{recipe.name}` cannot be built\n{told}", "; ".join(hints))
