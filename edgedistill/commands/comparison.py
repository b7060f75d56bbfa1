"""What `arms` and `methods` do alike: load, compare, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from edgedistill import recipe as recipes
from edgedistill.commands import going_on
from edgedistill.log import say
from edgedistill.recipe import Recipe
from edgedistill.report import on_disk, terminal
from edgedistill.report.assemble import new_folder
from edgedistill.report.compared import ComparisonReport
from edgedistill.store import Store

C = TypeVar("C")
R = TypeVar("R", bound=ComparisonReport)


def run(
    command: str,
    compare: Callable[[Store, Recipe, Path | None], C],
    assemble: Callable[..., R],
    save: Callable[[R, Path], dict[str, Path]],
    page: Callable[[R], Iterable[str]],
    *,
    recipe: str,
    overrides: tuple[str, ...],
    seeds: int | None,
    test_items: Path | None,
    runs: Path,
    as_json: bool,
) -> int:
    """Run all arms, report. Progress on stderr, the result on stdout. 0 whichever way it went."""
    started, begun = datetime.now(UTC), time.monotonic()
    asked = (*overrides, f"{command}.seeds={seeds}") if seeds else overrides
    made = recipes.load(recipe, asked)
    store = Store(runs, on_step=lambda step: say(terminal.step_line(step)))
    again = going_on.of_comparison(command, recipe, overrides, seeds, test_items, runs)
    with going_on.told_what_is_kept(store, again):
        found = compare(store, made, test_items)
    folder = new_folder(runs, started, made.name, command)
    seconds = time.monotonic() - begun
    report = assemble(made, found, build_id=folder.name, started=started, seconds=seconds, steps=store.steps)
    left = save(report, folder / "report")
    if as_json:
        click.echo(json.dumps(on_disk.as_json(report), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(["", *page(report), "", f"report   {left['html']}"]))
    return report.exit_code
