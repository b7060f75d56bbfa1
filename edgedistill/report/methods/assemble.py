"""From the artifacts of a contest to its report, and the report's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from edgedistill import agreement, comparison
from edgedistill.agreement import Correlation
from edgedistill.contest import Contest, Entry, Judged
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_json, write_text
from edgedistill.recipe import Recipe
from edgedistill.report.methods import html, markdown, words
from edgedistill.report.methods.schema import SCHEMA, MethodsReport
from edgedistill.report.schema import StageLine
from edgedistill.store import Step

Line = dict[str, Any]
Tables = dict[str, list[list[Entry]]]


def assemble(
    recipe: Recipe,
    found: Contest,
    *,
    build_id: str,
    started: datetime,
    seconds: float,
    steps: Sequence[Step],
) -> MethodsReport:
    """Read all that was graded; every figure of the report is made here."""
    tables = {"methods": found.methods, "pairs": found.pairs, "signals": found.signals}
    ran: Tables = {name: runs for name, runs in tables.items() if any(runs)}
    assert recipe.teacher  # contest.check() asks for one
    results, differences = _graded(ran, list(found.tests))
    report = MethodsReport.model_validate(
        {
            "recipe": recipe.name,
            "title": recipe.title,
            "build_id": build_id,
            "started": started.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "seeds": found.seeds,
            "items": {line["items"]: line["n"] for line in results},
            "teacher": recipe.teacher.model,
            "student": recipe.student.model,
            "results": results,
            "differences": differences,
            "costs": [line for name, runs in ran.items() for line in _costs(name, runs)],
            "agreement": list(_agreement(found.judged)),
            "prediction": list(_prediction(found.judged)),
            "stages": [StageLine.model_validate({**asdict(s), "seconds": round(s.seconds, 3)}) for s in steps],
            "conditions": _conditions(recipe),
        }
    )
    return report.model_copy(update={"answer": tuple(words.answer(report))})


def _graded(tables: Tables, sets: Sequence[str]) -> tuple[list[Line], list[Line]]:
    """`results` and `differences`: what is held against is the first arm of a table."""
    results: list[Line] = []
    differences: list[Line] = []
    for table, runs in tables.items():
        arms = [entry.arm for entry in runs[0]]
        for items in sets:
            graded = {arm: [_entry(run, arm).graded[items] for run in runs] for arm in arms}
            found = comparison.compare(graded, 0, arms[:1])
            for lines, kept in zip(found, (results, differences), strict=True):
                own = (line for line in lines if line["scope"] == comparison.MEAN_OF_TASKS)
                kept += [{"table": table, "items": items, **_without(line)} for line in own]
    return results, differences


def _without(line: Line) -> Line:
    """What a line of arms has beyond ours."""
    return {name: value for name, value in line.items() if name not in ("shots", "scope", "paper")}


def _entry(run: Sequence[Entry], arm: str) -> Entry:
    return next(entry for entry in run if entry.arm == arm)


def _costs(table: str, runs: Sequence[Sequence[Entry]]) -> Iterator[Line]:
    for arm in (entry.arm for entry in runs[0]):
        own = [_entry(run, arm) for run in runs]
        timed = [entry.spent for entry in own if entry.spent is not None]
        peaks = [one.peak_mib for one in timed if one.peak_mib is not None]
        yield {
            "table": table,
            "arm": arm,
            "student_tokens": fmean(entry.tokens for entry in own),
            "runs": len(timed),
            "seconds": round(fmean(one.seconds for one in timed), 3) if timed else None,
            "cpu_seconds": round(fmean(one.cpu_seconds for one in timed), 3) if timed else None,
            "peak_mib": round(max(peaks), 1) if peaks else None,
        }


def _agreement(judged: Sequence[Judged]) -> Iterator[Line]:
    for one, other in combinations(judged[0].rated if judged else (), 2):
        sides = [agreement.of_drafts(list(run.rated[one].scores()), list(run.rated[other].scores())) for run in judged]
        found = agreement.between([a for a, _ in sides], [b for _, b in sides])
        yield {"signal": one, "other": other, "drafts": fmean(len(a) for a, _ in sides), **_correlation(found)}


def _prediction(judged: Sequence[Judged]) -> Iterator[Line]:
    for signal in judged[0].rated if judged else ():
        sides = [agreement.of_groups(list(run.rated[signal].scores()), list(run.gains.rows())) for run in judged]
        for figure in ("accuracy", "log_prob"):
            found = agreement.between([means for means, _ in sides], [gains[figure] for _, gains in sides])
            groups = fmean(len(means) for means, _ in sides)
            yield {"signal": signal, "figure": figure, "groups": groups, **_correlation(found)}


def _correlation(found: Correlation) -> Line:
    def short(value: float | None) -> float | None:
        return None if value is None else round(value, 6)

    bounds = {"ci_low": short(found.ci_low), "ci_high": short(found.ci_high)}
    return {"spearman": short(found.mean), **bounds, "by_run": [short(value) for value in found.by_run]}


def _conditions(recipe: Recipe) -> dict[str, Any]:
    config = recipe.methods
    return {
        "prompt": "plain, zero-shot, greedy, up to the first </ans>",
        "interval": "95%, bootstrap of items within tasks, paired, plus the variance of runs; 10,000 resamples",
        "rows_per_task": config.rows,
        "max_tokens": config.max_tokens,
        "items_per_task": config.items,
        "groups": config.groups,
        "group_size": config.group_size,
        "first_seed": recipe.seed,
    }


def save(report: MethodsReport, stem: Path) -> dict[str, Path]:
    """Write `<stem>.json`, `.md` and `.html`."""
    return {
        "json": write_json(stem.with_name(f"{stem.name}.json"), as_json(report)),
        "md": write_text(stem.with_name(f"{stem.name}.md"), markdown.page(report)),
        "html": write_text(stem.with_name(f"{stem.name}.html"), html.page(report)),
    }


def is_one(path: Path) -> bool:
    """Whether a report.json is of a contest; one that cannot be read is not."""
    try:
        content = read_json(path)
    except ValueError:
        return False
    return isinstance(content, dict) and str(content.get("schema", "")).startswith("edgedistill.methods/")


def load(path: Path) -> MethodsReport:
    """Read a report.json back; UsageError when it is of another version."""
    try:
        return MethodsReport.model_validate(read_json(path))
    except ValueError as error:  # pydantic's is a child of it
        said = str(error).splitlines()[0]
        raise UsageError(f"{path} is not a report of schema {SCHEMA}: {said}", "run the methods again") from None


def as_json(report: MethodsReport) -> dict[str, Any]:
    """The report under the schema's own names."""
    return report.model_dump(mode="json", by_alias=True)
