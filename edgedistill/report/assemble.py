"""From a build's steps, measurements and bundle to its report."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgedistill.errors import IntegrityError
from edgedistill.report import html, markdown, on_disk
from edgedistill.report.schema import SCHEMA, Alignment, BundleLine, Report, StageLine
from edgedistill.store import Step

MISSED = 1


def assemble(
    *,
    recipe: str,
    target: str,
    build_id: str,
    started: datetime,
    seconds: float,
    steps: list[Step],
    measured: dict[str, Any],
    bundle: BundleLine | None,
    alignment: Alignment | None = None,
    is_measured_required: bool = False,
) -> Report:
    """`measured` is measurements.json, empty when the build ended before `validate`."""
    stages = tuple(StageLine.model_validate({**asdict(step), "seconds": round(step.seconds, 3)}) for step in steps)
    found = {name: measured[name] for name in ("student", "candidates", "budgets") if measured.get(name)}
    report = Report.model_validate(
        {
            "recipe": recipe,
            "target": target,
            "build_id": build_id,
            "started": started.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "exit_code": 0,
            "stages": stages,
            "alignment": alignment,
            "bundle": bundle,
            **found,
        }
    )
    return report.model_copy(update={"exit_code": exit_code(report, is_measured_required)})


def exit_code(report: Report, is_measured_required: bool) -> int:
    """4 when no candidate reproduces the golden cases, 1 when a budget is missed (or, if asked, unproven), else 0."""
    checked = [one.parity for one in report.candidates if one.parity]
    if checked and not any(parity.passed for parity in checked):
        return IntegrityError.exit_code
    is_missed = report.count("missed") > 0 or (report.candidates and report.chosen is None)
    return MISSED if is_missed or (is_measured_required and report.count("unproven")) else 0


def new_folder(runs: Path, started: datetime, recipe: str, target: str) -> Path:
    """A folder of its own for each build, in order of time: `20261121-101500-quickstart-rpi5`."""
    stem = f"{started.astimezone(UTC):%Y%m%d-%H%M%S}-{recipe}-{target}"
    for number in range(1, 1000):
        folder = runs / "reports" / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError(f"1000 builds within one second in {runs}")


def save(report: Report, lineage: dict[str, str], stem: Path) -> dict[str, Path]:
    """Write `<stem>.json`, `.md` and `.html`."""
    return on_disk.save(report, stem, markdown=markdown.page(report, lineage), html=html.page(report, lineage))


def load(path: Path) -> Report:
    """Read a report.json back; UsageError when it is none."""
    return on_disk.load(Report, path, SCHEMA, "build again, or name another")
