"""`arms`: train the same student on data made in other ways, and say with intervals what alignment adds."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from edgedistill import arms as line
from edgedistill import recipe as recipes
from edgedistill.commands import going_on
from edgedistill.log import say
from edgedistill.report import on_disk
from edgedistill.report import terminal as general
from edgedistill.report.arms import assemble, terminal
from edgedistill.report.assemble import new_folder
from edgedistill.store import Store


def run(
    *, recipe: str, overrides: tuple[str, ...], seeds: int | None, test_items: Path | None, runs: Path, as_json: bool
) -> int:
    """Run all arms, report. Progress on stderr, the result on stdout. 0 whichever way it went."""
    started, begun = datetime.now(UTC), time.monotonic()
    asked = (*overrides, f"arms.seeds={seeds}") if seeds else overrides
    made = recipes.load(recipe, asked)
    store = Store(runs, on_step=lambda step: say(general.step_line(step)))
    again = going_on.of_comparison("arms", recipe, overrides, seeds, test_items, runs)
    with going_on.told_what_is_kept(store, again):
        compared = line.arms(store, made, test_items)
    folder = new_folder(runs, started, made.name, "arms")
    report = assemble.assemble(
        made,
        compared,
        build_id=folder.name,
        started=started,
        seconds=time.monotonic() - begun,
        steps=store.steps,
        test_items=test_items,
    )
    left = assemble.save(report, folder / "report")
    if as_json:
        click.echo(json.dumps(on_disk.as_json(report), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(["", *terminal.page(report), "", f"report   {left['html']}"]))
    return report.exit_code
