"""Arms against each other: accuracies and paired differences with 95% intervals, per task and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill import statistics
from edgedistill.artifacts import Graded
from edgedistill.statistics import Interval

MEAN_OF_TASKS, POOLED = "mean of tasks", "pooled"
"""Two ways to one figure: every task weighs the same, or every test item does."""

AGAINST = ("original", "one-style")
"""What every arm is held against: data of the unaligned teacher, chosen by the same scores."""

# ARTE, arXiv:2406.19227v1, Gemma-2B on Big-Bench-Hard, in accuracy; Table 2, and Table 6 for `one-style`.
PAPER = {
    (0, "none"): 0.0109,
    (0, "original"): 0.3755,
    (0, "rationale-only"): 0.3794,
    (0, "question-only"): 0.4173,
    (0, "arte"): 0.4196,
    (3, "none"): 0.3557,
    (3, "original"): 0.4004,
    (3, "one-style"): 0.4212,
    (3, "rationale-only"): 0.4130,
    (3, "question-only"): 0.4278,
    (3, "arte"): 0.4344,
}
"""(shots, arm) -> accuracy."""


@dataclass(frozen=True)
class Answers:
    """What all arms made of the test items of one task with one number of shots.

    Shapes  A arms, S runs, I items
        right, has_format  (A, S, I) float, 0 or 1
    """

    right: Any
    has_format: Any

    @property
    def items(self) -> int:
        return int(self.right.shape[2])


def read(graded: Mapping[str, Sequence[Graded]], shots: int) -> dict[str, Answers]:
    """Task -> answers. `graded` has one artifact per run for every arm; all must be of the same items."""
    import numpy as np

    by_arm = [[_by_item(one, shots) for one in runs] for runs in graded.values()]
    keys = list(by_arm[0][0])
    assert all(list(run) == keys for runs in by_arm for run in runs), "arms were graded on other items"
    found = {}
    for task in dict.fromkeys(task for task, _ in keys):
        own = [key for key in keys if key[0] == task]
        cells = np.array([[[run[key] for key in own] for run in runs] for runs in by_arm], dtype=np.float64)
        found[task] = Answers(cells[..., 0], cells[..., 1])
    return found


def _by_item(graded: Graded, shots: int) -> dict[tuple[str, str], tuple[bool, bool]]:
    return {(row.task, row.id): (row.right, row.has_format) for row in graded.rows() if row.shots == shots}


def compare(
    graded: Mapping[str, Sequence[Graded]], shots: int, held_against: Sequence[str] = AGAINST
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`results` and `differences` of the report's schema, for one number of shots; differences from `held_against`.

    Intervals: items are drawn again within their task, the same for every arm, from their means over the runs; to that
    comes the variance that runs have of their own (`statistics.variance_of_runs`), as Student's t with the degrees of
    freedom of the runs. With few runs that variance is itself uncertain, and taken for 0 where items explain it all:
    two arms' intervals may then differ much in width.
    """
    import numpy as np

    answers = read(graded, shots)
    drawn = statistics.resampled_means([one.right.mean(axis=1) for one in answers.values()])  # (N, T, A)
    results: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for scope, weights in _scopes(answers):
        n = sum(one.items for one, weight in zip(answers.values(), weights, strict=True) if weight)
        line = {"shots": shots, "scope": scope, "n": n}
        spread = np.tensordot(drawn, weights, axes=(1, 0))  # (N, A)
        for place, arm in enumerate(graded):
            own = [one.right[place] for one in answers.values()]
            found = _estimate(own, weights, spread[:, place])
            interval = _within(0, found.interval) or statistics.wilson(round(found.value * n), n)
            form = sum(w * one.has_format[place].mean() for one, w in zip(answers.values(), weights, strict=True))
            value = {"accuracy": found.value, **_bounds(interval), "format_rate": float(form), "by_run": found.by_run}
            results.append(_rounded({"arm": arm, **line, **value}))
        for against in (name for name in held_against if name in graded):
            other = list(graded).index(against)
            for place, arm in enumerate(graded):
                if place != other:
                    change = [one.right[place] - one.right[other] for one in answers.values()]
                    found = _estimate(change, weights, spread[:, place] - spread[:, other])
                    interval = _within(-1, found.interval) or statistics.tango(0, 0, n)
                    differences.append(_difference(arm, against, line, found, interval))
    return results, differences


@dataclass(frozen=True)
class _Estimate:
    value: float
    by_run: list[float]
    interval: Interval | None
    """95%; None where all items and runs are the same, which a bootstrap takes for certainty."""


def _estimate(tables: list[Any], weights: Any, drawn: Any) -> _Estimate:
    """Weighted mean of (S, I) tables with its interval; `drawn` (N,) are its resamples over items."""
    import numpy as np

    by_run = sum(weight * table.mean(axis=1) for table, weight in zip(tables, weights, strict=True))
    spread = float(np.sqrt(statistics.variance_of_runs(tables, weights)))
    interval = None
    if spread > 0 or float(drawn.min()) < float(drawn.max()):
        shifts = np.random.default_rng(20240627).standard_t(max(1, len(by_run) - 1), len(drawn)) * spread
        low, high = np.quantile(drawn + shifts, [0.025, 0.975])
        interval = Interval(float(low), float(high))
    return _Estimate(float(np.mean(by_run)), [float(one) for one in by_run], interval)


def _within(lowest: float, interval: Interval | None) -> Interval | None:
    """No share is above 1; the spread of few runs would reach beyond."""
    return interval and Interval(max(lowest, interval.low), min(1.0, interval.high))


def _scopes(answers: Mapping[str, Answers]) -> list[tuple[str, Any]]:
    """Name, and weight of each task: every task alone, all with the same weight, all by their items."""
    import numpy as np

    items = np.array([one.items for one in answers.values()])
    alone = list(zip(answers, np.eye(len(items)), strict=True))
    return [*alone, (MEAN_OF_TASKS, np.full(len(items), 1 / len(items))), (POOLED, items / items.sum())]


def _difference(arm: str, against: str, line: dict[str, Any], found: _Estimate, interval: Interval) -> dict[str, Any]:
    verdict = "better" if interval.low > 0 else "worse" if interval.high < 0 else "unclear"
    theirs = PAPER.get((line["shots"], arm)), PAPER.get((line["shots"], against))
    is_whole = line["scope"] in (MEAN_OF_TASKS, POOLED)
    paper = theirs[0] - theirs[1] if is_whole and theirs[0] is not None and theirs[1] is not None else None
    value = {"difference": found.value, **_bounds(interval), "by_run": found.by_run}
    return _rounded({"arm": arm, "against": against, **line, **value, "verdict": verdict, "paper": paper})


def _bounds(interval: Interval) -> dict[str, float]:
    return {"ci_low": interval.low, "ci_high": interval.high}


def _rounded(line: dict[str, Any]) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(one) for one in value]
        return round(value, 6) + 0.0 if isinstance(value, float) else value

    return {name: short(value) for name, value in line.items()}
