"""From the artifacts of a comparison to its report, and the report's files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from edgedistill import comparison, diagnostics
from edgedistill.arms import Arm, Compared
from edgedistill.recipe import Recipe
from edgedistill.report import on_disk
from edgedistill.report.arms import html, markdown, words
from edgedistill.report.arms.schema import SCHEMA, ArmsReport
from edgedistill.report.compared import about
from edgedistill.store import Step


def assemble(
    recipe: Recipe,
    compared: Compared,
    *,
    build_id: str,
    started: datetime,
    seconds: float,
    steps: Sequence[Step],
    test_items: Path | None,
) -> ArmsReport:
    """Read all that was graded; every figure of the report is made here."""
    names = [arm.name for arm in compared.runs[0].arms]
    graded = {name: [_arm(run.arms, name).graded for run in compared.runs] for name in names}
    lines = [comparison.compare(graded, shots) for shots in recipe.arms.shots]
    results = [line for found, _ in lines for line in found]
    seeds = [run.seed for run in compared.runs]
    report = ArmsReport.model_validate(
        {
            **about(recipe, build_id=build_id, started=started, seconds=seconds, seeds=seeds, steps=steps),
            "shots": recipe.arms.shots,
            "tasks": {task.name: _items(results, task.name) for task in compared.tasks},
            "test_items": str(test_items) if test_items else None,
            "results": results,
            "differences": [line for _, found in lines for line in found],
            **_diagnostics(compared, names),
            "runs": [
                {"arm": a.name, "seed": r.seed, "data": a.data.key if a.data else None, "graded": a.graded.key}
                for r in compared.runs
                for a in r.arms
            ],
            "conditions": _conditions(recipe),
        }
    )
    return report.model_copy(update={"answer": tuple(words.answer(report))})


def _arm(arms: Sequence[Arm], name: str) -> Arm:
    return next(arm for arm in arms if arm.name == name)


def _items(results: list[dict[str, Any]], task: str) -> int:
    return int(next(line["n"] for line in results if line["scope"] == task))


def _diagnostics(compared: Compared, names: list[str]) -> dict[str, Any]:
    """`signal`, `aligned` and `data` of the schema; the figures of a task are means over the runs."""
    signal = [diagnostics.signal(run.preferences, compared.tasks) for run in compared.runs]
    data = []
    for name in names:
        rows = [_arm(run.arms, name).data for run in compared.runs]
        found = [diagnostics.data(one, compared.tasks) for one in rows if one is not None]
        data += [{"arm": name, **_averaged(lines)} for lines in zip(*found, strict=True)]
    return {
        "signal": [_averaged(lines) for lines in zip(*signal, strict=True)],
        "aligned": [{"seed": run.seed, **diagnostics.teacher(run.aligned)} for run in compared.runs],
        "data": data,
    }


def _averaged(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each number over the lines that have it; texts are those of the first."""
    found: dict[str, Any] = {}
    for name, first in lines[0].items():
        values = [line[name] for line in lines if line[name] is not None]
        if isinstance(first, str) or not values:
            found[name] = first
        elif isinstance(first, dict):
            reasons = {reason: 0 for value in values for reason in value}
            found[name] = _averaged([{**reasons, **value} for value in values]) if reasons else {}
        else:
            found[name] = round(fmean(values), 6)
    return found


def _conditions(recipe: Recipe) -> dict[str, Any]:
    config = recipe.arms
    return {
        "prompt": "plain, greedy, up to the first </ans>",
        "shots": "the task's first seeds with their rationales",
        "interval": "95%, bootstrap of items within tasks, paired, plus the variance of runs; 10,000 resamples",
        "max_tokens": config.max_tokens,
        "items_per_task": config.items,
        "rows_per_task": config.rows,
        "first_seed": recipe.seed,
    }


def save(report: ArmsReport, stem: Path) -> dict[str, Path]:
    """Write `<stem>.json`, `.md` and `.html`."""
    return on_disk.save(report, stem, markdown=markdown.page(report), html=html.page(report))


def is_one(path: Path) -> bool:
    """Whether a report.json is of a comparison; one that cannot be read is not."""
    return on_disk.is_of(path, SCHEMA)


def load(path: Path) -> ArmsReport:
    """Read a report.json back; UsageError when it is of another version."""
    return on_disk.load(ArmsReport, path, SCHEMA, "run the arms again")
