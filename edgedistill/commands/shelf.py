"""`targets` and `recipes`: what is shipped, and whether a file is right."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgedistill import recipe, table, target, yaml_file
from edgedistill.errors import UsageError
from edgedistill.report import words

_LOAD: dict[str, Callable[[str], Any]] = {"targets": target.load, "recipes": recipe.load}

_ABOVE = re.compile(r"(?<![\w./-])\.\./[\w./-]+")
"""A path that leads out of a recipe's folder."""


def list_all(kind: str, as_json: bool) -> int:
    """Shipped names, titles and files."""
    found = [
        {"name": name, "title": str(yaml_file.read(path).get("title", "")), "path": str(path)}
        for name, path in yaml_file.names(kind).items()
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(table.lines(("name", "what it is"), [(f["name"], f["title"]) for f in found])))
    return 0


def show(kind: str, name: str, as_json: bool) -> int:
    """The file's own text; as JSON with every default filled in."""
    path = yaml_file.find(kind, name)
    if as_json:
        loaded: Any = _LOAD[kind](name)
        click.echo(json.dumps(loaded.model_dump(mode="json", by_alias=True), indent=2))
    else:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
        click.echo(f"the file is {path}", err=True)
    return 0


def copy(kind: str, name: str, to: Path) -> int:
    """Copy a target's file, or a recipe's whole folder, to where it can be changed. Never writes over anything."""
    path = yaml_file.find(kind, name)
    is_folder = path.name == "recipe.yaml"
    if is_folder:
        goal = to / path.parent.name if to.is_dir() else to
    elif to.is_dir():
        goal = to / path.name
    else:
        goal = to if to.suffix in (".yaml", ".yml") else to.with_name(f"{to.name}.yaml")
    if is_folder and (to / "recipe.yaml").exists():
        goal = to
    if goal.exists():
        raise UsageError(f"{goal} exists already", "give another path")
    goal.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        shutil.copytree(path.parent, goal, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(path, goal)
    _keep_paths(goal / path.name if is_folder else goal, path.parent)
    shown = goal if goal.is_absolute() or len(goal.parts) > 1 else Path(".", goal)
    option = f"--{kind[:-1]} {'./' if not goal.is_absolute() and len(goal.parts) == 1 else ''}{shown}"
    size = f" ({words.size(_bytes(goal))})" if is_folder else ""
    click.echo(f"{goal}{size}\nuse it with `{option}`")
    return 0


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _keep_paths(copied: Path, home: Path) -> None:
    """Let a copy point to what its original has beside its own folder (`../quickstart/models/teacher`)."""
    text = copied.read_text(encoding="utf-8")
    kept = _ABOVE.sub(lambda found: str((home / found[0]).resolve()) if (home / found[0]).exists() else found[0], text)
    if kept != text:
        copied.write_text(kept, encoding="utf-8")
