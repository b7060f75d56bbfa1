"""From the artifacts of a contest to its report, and the report's files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from edgedistill import agreement, comparison
from edgedistill.agreement import Correlation
from edgedistill.contenders import Entry, Judged
from edgedistill.contest import Contest
from edgedistill.method_arms import HELD_AGAINST
from edgedistill.recipe import Recipe
from edgedistill.report import on_disk
from edgedistill.report.compared import about
from edgedistill.report.methods import html, markdown, words
from edgedistill.report.methods.schema import SCHEMA, MethodsReport
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
    whole = {name: _whole(runs) for name, runs in tables.items()}
    ran: Tables = {name: runs for name, runs in whole.items() if any(runs)}
    results, differences = _graded(ran, list(found.tests))
    report = MethodsReport.model_validate(
        {
            **about(recipe, build_id=build_id, started=started, seconds=seconds, seeds=found.seeds, steps=steps),
            "items": {line["items"]: line["n"] for line in results},
            "results": results,
            "differences": differences,
            "costs": [line for name, runs in ran.items() for line in _costs(name, runs)],
            "agreement": list(_agreement(found.judged)),
            "prediction": list(_prediction(found.judged)),
            "failures": [asdict(one) for one in found.failures],
            "conditions": _conditions(recipe),
        }
    )
    return report.model_copy(update={"answer": tuple(words.answer(report))})


def _whole(runs: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
    """The arms that came to their end in every run: only these can be compared."""
    names = [{entry.arm for entry in run} for run in runs]
    return [[entry for entry in run if all(entry.arm in own for own in names)] for run in runs]


def _graded(tables: Tables, sets: Sequence[str]) -> tuple[list[Line], list[Line]]:
    """`results` and `differences`: from the first arm of a table, and from those that an arm is to be better than."""
    results: list[Line] = []
    differences: list[Line] = []
    for table, runs in tables.items():
        arms = [entry.arm for entry in runs[0]]
        for items in sets:
            graded = {arm: [_entry(run, arm).graded[items] for run in runs] for arm in arms}
            others = dict.fromkeys(other for arm in arms for other in HELD_AGAINST.get(arm, ()))
            found = comparison.compare(graded, 0, tuple(dict.fromkeys([arms[0], *others])))
            for lines, kept in zip(found, (results, differences), strict=True):
                own = [line for line in lines if line["scope"] == comparison.MEAN_OF_TASKS]
                kept += [{"table": table, "items": items, **_without(line)} for line in own if _counts(line, arms[0])]
    return results, differences


def _counts(line: Line, first: str) -> bool:
    """Of the differences not all are shown: more comparisons find more by chance."""
    return "against" not in line or line["against"] in (first, *HELD_AGAINST.get(line["arm"], ()))


def _without(line: Line) -> Line:
    """What a line of arms has beyond ours."""
    return {name: value for name, value in line.items() if name not in ("shots", "scope", "paper")}


def _entry(run: Sequence[Entry], arm: str) -> Entry:
    return next(entry for entry in run if entry.arm == arm)


def _costs(table: str, runs: Sequence[Sequence[Entry]]) -> Iterator[Line]:
    for arm in (entry.arm for entry in runs[0]):
        own = [_entry(run, arm) for run in runs]
        timed = [entry.spent for entry in own if entry.spent is not None]
        left_out = sum((Counter(entry.left_out) for entry in own), Counter[str]())
        peaks = [one.peak_mib for one in timed if one.peak_mib is not None]
        yield {
            "table": table,
            "arm": arm,
            "student_tokens": fmean(entry.tokens for entry in own),
            "token_ratio": round(fmean(e.tokens / run[0].tokens for e, run in zip(own, runs, strict=True)), 4),
            "left_out": {name: count / len(own) for name, count in left_out.items()},
            "runs": len(timed),
            "seconds": round(fmean(one.seconds for one in timed), 3) if timed else None,
            "cpu_seconds": round(fmean(one.cpu_seconds for one in timed), 3) if timed else None,
            "peak_mib": round(max(peaks), 1) if peaks else None,
        }


def _agreement(judged: Sequence[Judged]) -> Iterator[Line]:
    for one, other in combinations(judged[0].rated if judged else (), 2):
        sides = [agreement.of_drafts(list(run.rated[one].scores()), list(run.rated[other].scores())) for run in judged]
        drafts = fmean(sum(len(task.one) for task in run) for run in sides)
        yield {"signal": one, "other": other, "drafts": drafts, **_correlation(agreement.between(sides))}


def _prediction(judged: Sequence[Judged]) -> Iterator[Line]:
    for signal in judged[0].rated if judged else ():
        scored = [(list(run.rated[signal].scores()), list(run.gains.rows())) for run in judged]
        for figure in ("accuracy", "log_prob"):
            found = agreement.between([agreement.of_groups(scores, gains, figure) for scores, gains in scored])
            groups = fmean(len(gains) for _, gains in scored)
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
        "options": json.dumps(config.options, sort_keys=True),
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
    return on_disk.save(report, stem, markdown=markdown.page(report), html=html.page(report))


def is_one(path: Path) -> bool:
    """Whether a report.json is of a contest; one that cannot be read is not."""
    return on_disk.is_of(path, SCHEMA)


def load(path: Path) -> MethodsReport:
    """Read a report.json back; UsageError when it is of another version."""
    return on_disk.load(MethodsReport, path, SCHEMA, "run the methods again")
