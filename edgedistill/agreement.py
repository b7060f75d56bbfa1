"""Do signals say the same of drafts, and does what they say come true? Rank correlations with intervals.

Spearman's correlation is taken within each task of each run, averaged over tasks and then over runs: tasks differ in
how high all their scores are, and runs in their drafts and their student's luck, and neither is agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from edgedistill.artifacts import Gain, Score

RESAMPLES = 2000
_SEED = 20241018


@dataclass(frozen=True)
class Ranked:
    """Values that are ranked together: those of one task in one run, pair by pair."""

    one: tuple[float, ...]
    other: tuple[float, ...]
    names: tuple[str, ...]
    """Values of the same name hang together, such as those of drafts of one question: they are drawn together."""


@dataclass(frozen=True)
class Correlation:
    """None where no task of a run has 3 values or more that are not all the same on one side."""

    by_run: tuple[float | None, ...]
    ci_low: float | None = None
    ci_high: float | None = None

    @property
    def mean(self) -> float | None:
        return _mean(self.by_run)


def between(runs: Sequence[Sequence[Ranked]]) -> Correlation:
    """Of the tasks of each run, with a 95% interval: names are drawn again within their task and run.

    The interval is for these runs: how far others would be from them is not in it.
    """
    import numpy as np

    by_run = tuple(_mean(_spearman(_table(one)) for one in run) for run in runs)
    if _mean(by_run) is None:
        return Correlation(by_run)
    tables = [[(_table(one), _places(one)) for one in run] for run in runs]
    random = np.random.default_rng(_SEED)
    means = []
    for _ in range(RESAMPLES):
        drawn = [_mean(_spearman(table[:, _redrawn(places, random)]) for table, places in run) for run in tables]
        if (mean := _mean(drawn)) is not None:
            means.append(mean)
    low, high = np.quantile(means, [0.025, 0.975])
    return Correlation(by_run, float(low), float(high))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _table(one: Ranked) -> Any:
    import numpy as np

    return np.array([one.one, one.other], dtype=np.float64)


def _places(one: Ranked) -> list[list[int]]:
    """Where the values of each name are."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(one.names):
        found.setdefault(name, []).append(place)
    return list(found.values())


def _redrawn(places: list[list[int]], random: Any) -> list[int]:
    return [place for number in random.integers(len(places), size=len(places)) for place in places[number]]


def _spearman(table: Any) -> float | None:
    """Of the two rows of a (2, N) table; equal values share the mean of their ranks."""
    import numpy as np
    from scipy.stats import rankdata

    if table.shape[1] < 3 or (table.min(axis=1) == table.max(axis=1)).any():
        return None
    return float(np.corrcoef(rankdata(table, axis=1))[0, 1])


def of_drafts(one: Sequence[Score], other: Sequence[Score]) -> list[Ranked]:
    """Per task the scores of two signals for the drafts that both scored; drafts of one question hang together."""
    others = {score.draft_id: score.score for score in other}
    both = [score for score in one if score.draft_id in others]
    return [
        Ranked(
            tuple(score.score for score in own),
            tuple(others[score.draft_id] for score in own),
            tuple(score.draft_id.rpartition("/")[0] for score in own),
        )
        for own in _by_task(both)
    ]


def of_groups(scores: Sequence[Score], gains: Sequence[Gain], figure: str) -> list[Ranked]:
    """Per task the mean score of each group's drafts, and what was gained in `accuracy` or `log_prob`."""
    by_id = {score.draft_id: score.score for score in scores}
    return [
        Ranked(
            tuple(fmean(by_id[name] for name in gain.drafts) for gain in own),
            tuple(float(getattr(gain, figure)) for gain in own),
            tuple(str(number) for number in range(len(own))),
        )
        for own in _by_task(gains)
    ]


def _by_task(rows: Sequence[Any]) -> list[list[Any]]:
    return [[row for row in rows if row.task == task] for task in dict.fromkeys(row.task for row in rows)]
