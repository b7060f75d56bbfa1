"""`targets check` and `recipes check`: whether files are right, all of them at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from edgedistill import inputs, recipe, target, yaml_file
from edgedistill.errors import EdgeDistillError


def run(kind: str, names: tuple[str, ...], as_json: bool) -> int:
    """Load each (all shipped ones when none is named), and report the problems of all."""
    found = {name: _look(kind, name) for name in names or tuple(yaml_file.names(kind))}
    if as_json:
        click.echo(json.dumps([_as_json(name, *look) for name, look in found.items()], indent=2, ensure_ascii=False))
    for name, (error, notes) in found.items() if not as_json else ():
        if error:
            click.echo(f"error: {error.problem}" + (f"\n\nhint: {error.hint}" if error.hint else ""), err=True)
        else:
            click.echo("\n  ".join([f"{name}: no problems", *notes]))
    return max((error.exit_code for error, _ in found.values() if error), default=0)


def _look(kind: str, name: str) -> tuple[EdgeDistillError | None, list[str]]:
    """What is wrong, or else what a build will still need."""
    try:
        return None, _CHECK[kind](name)
    except EdgeDistillError as error:
        return error, []


def _as_json(name: str, error: EdgeDistillError | None, notes: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "problem": error.problem if error else None,
        "hint": error.hint if error else None,
        "notes": notes,
    }


def _check_target(name: str) -> list[str]:
    return target.doubts(target.load(name))


def _check_recipe(name: str) -> list[str]:
    return inputs.check(recipe.load(name))


_CHECK: dict[str, Callable[[str], list[str]]] = {"targets": _check_target, "recipes": _check_recipe}
