"""`targets check` and `recipes check`: whether files are right, all of them at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from edgedistill import inputs, recipe, target, yaml_file
from edgedistill.errors import EdgeDistillError


def run(kind: str, names: tuple[str, ...], as_json: bool) -> int:
    """Load each (all shipped ones when none is named), and report the problems of all."""
    found = {name: _error(kind, name) for name in names or tuple(yaml_file.names(kind))}
    if as_json:
        lines = [
            {"name": name, "problem": error.problem if error else None, "hint": error.hint if error else None}
            for name, error in found.items()
        ]
        click.echo(json.dumps(lines, indent=2, ensure_ascii=False))
    for name, error in found.items() if not as_json else ():
        if error:
            click.echo(f"error: {error.problem}" + (f"\n\nhint: {error.hint}" if error.hint else ""), err=True)
        else:
            click.echo(f"{name}: no problems")
    return max((error.exit_code for error in found.values() if error), default=0)


def _error(kind: str, name: str) -> EdgeDistillError | None:
    try:
        _CHECK[kind](name)
    except EdgeDistillError as error:
        return error
    return None


def _check_target(name: str) -> None:
    target.load(name)


def _check_recipe(name: str) -> None:
    inputs.check(recipe.load(name))


_CHECK: dict[str, Callable[[str], None]] = {"targets": _check_target, "recipes": _check_recipe}
