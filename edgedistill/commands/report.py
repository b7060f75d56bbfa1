"""`report`: the result of an earlier build or comparison, as it was printed then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from edgedistill.errors import UsageError
from edgedistill.files import read_json
from edgedistill.report import assemble, terminal
from edgedistill.report.arms import assemble as arms
from edgedistill.report.arms import terminal as arms_terminal
from edgedistill.report.methods import assemble as methods
from edgedistill.report.methods import terminal as methods_terminal


def run(build: str | None, runs: Path, as_json: bool) -> int:
    path = find(build, runs)
    if as_json:
        click.echo(json.dumps(read_json(path), indent=2, ensure_ascii=False))
        return 0
    click.echo("\n".join(_page(path)))
    click.echo(f"\nreport   {path.with_suffix('.html')}")
    return 0


def _page(path: Path) -> Iterator[str]:
    """By the report's schema."""
    if arms.is_one(path):
        return arms_terminal.page(arms.load(path))
    if methods.is_one(path):
        return methods_terminal.page(methods.load(path))
    return terminal.page(assemble.load(path))


def find(build: str | None, runs: Path) -> Path:
    """The report.json of a build id or the start of one, of a folder, of a bundle, or of the last build."""
    known = sorted(path.parent for path in (runs / "reports").glob("*/report.json"))
    if build is None and known:
        return known[-1] / "report.json"
    if build is not None:
        beside = Path(build.rstrip("/"))
        for path in (beside, beside / "report.json", beside.with_name(f"{beside.name}.report.json")):
            if path.is_file():
                return path
        found = [folder for folder in known if folder.name.startswith(build)]
        if len(found) == 1:
            return found[0] / "report.json"
        if found:
            raise UsageError(f"{len(found)} builds start with `{build}`: {', '.join(f.name for f in found[-5:])}")
    asked = f"no report of `{build}`" if build else "no reports"
    last = f"the last builds: {', '.join(folder.name for folder in known[-5:])}" if known else "none was built there"
    raise UsageError(f"{asked} in {runs / 'reports'}; {last}", "`--runs` says where builds are kept")
