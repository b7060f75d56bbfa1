"""`methods`: train, pair and score in several ways, and say with intervals and costs which is better."""

from __future__ import annotations

import json
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from edgedistill import contest as line
from edgedistill import recipe as recipes
from edgedistill.commands.build import kept
from edgedistill.errors import EdgeDistillError
from edgedistill.log import say
from edgedistill.report import terminal as general
from edgedistill.report.assemble import new_folder
from edgedistill.report.methods import assemble, terminal
from edgedistill.store import Store


def run(
    *, recipe: str, overrides: tuple[str, ...], seeds: int | None, test_items: Path | None, runs: Path, as_json: bool
) -> int:
    """Run all arms, report. Progress on stderr, the result on stdout. 0 whichever way it went."""
    started, begun = datetime.now(UTC), time.monotonic()
    asked = (*overrides, f"methods.seeds={seeds}") if seeds else overrides
    made = recipes.load(recipe, asked)
    store = Store(runs, on_step=lambda step: say(general.step_line(step)))
    again = _again(recipe, overrides, seeds, test_items, runs)
    try:
        found = line.contest(store, made, test_items)
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(kept(store, again))
        raise
    except EdgeDistillError as error:
        error.hint = f"{error.hint}\n      {kept(store, again)}".strip() if store.steps else error.hint
        raise
    folder = new_folder(runs, started, made.name, "methods")
    seconds = time.monotonic() - begun
    report = assemble.assemble(made, found, build_id=folder.name, started=started, seconds=seconds, steps=store.steps)
    left = assemble.save(report, folder / "report")
    if as_json:
        click.echo(json.dumps(assemble.as_json(report), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(["", *terminal.page(report), "", f"report   {left['html']}"]))
    return report.exit_code


def _again(recipe: str, overrides: tuple[str, ...], seeds: int | None, test_items: Path | None, runs: Path) -> str:
    """The command that goes on."""
    words: list[Any] = ["edgedistill", "methods", "--recipe", recipe]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--seeds", seeds] if seeds else []
    words += ["--test-items", test_items] if test_items else []
    words += ["--runs", runs] if runs != Path("runs") else []
    return shlex.join(str(word) for word in words)
