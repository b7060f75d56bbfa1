"""Do signals say the same of drafts, and does what they say come true? Rank correlations with intervals.

Spearman's correlation is taken within each run, whose drafts and student's luck are its own, and averaged over runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from edgedistill.artifacts import Gain, Score

RESAMPLES = 2000
_SEED = 20241018


@dataclass(frozen=True)
class Correlation:
    """None where a run has fewer than 3 values, or values that are all the same on one side."""

    by_run: tuple[float | None, ...]
    ci_low: float | None = None
    ci_high: float | None = None

    @property
    def mean(self) -> float | None:
        known = [value for value in self.by_run if value is not None]
        return fmean(known) if known else None


def between(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Correlation:
    """Of two lists of values for each run, with a 95% interval: values are drawn again within their run, in pairs."""
    import numpy as np

    tables = [np.array([a, b], dtype=np.float64) for a, b in zip(one, other, strict=True)]
    by_run = tuple(_spearman(table) for table in tables)
    random = np.random.default_rng(_SEED)
    means = []
    for _ in range(RESAMPLES):
        drawn = [_spearman(table[:, random.integers(table.shape[1], size=table.shape[1])]) for table in tables]
        if known := [value for value in drawn if value is not None]:
            means.append(fmean(known))
    if not means or all(value is None for value in by_run):
        return Correlation(by_run)
    low, high = np.quantile(means, [0.025, 0.975])
    return Correlation(by_run, float(low), float(high))


def _spearman(table: Any) -> float | None:
    """Of the two rows of a (2, N) table; equal values share the mean of their ranks."""
    import numpy as np
    from scipy.stats import rankdata

    if table.shape[1] < 3 or (table.min(axis=1) == table.max(axis=1)).any():
        return None
    return float(np.corrcoef(rankdata(table, axis=1))[0, 1])


def of_drafts(one: Sequence[Score], other: Sequence[Score]) -> tuple[list[float], list[float]]:
    """The scores of two signals for the drafts that both scored, in one order."""
    others = {score.draft_id: score.score for score in other}
    both = [(score.score, others[score.draft_id]) for score in one if score.draft_id in others]
    return [a for a, _ in both], [b for _, b in both]


def of_groups(scores: Sequence[Score], gains: Sequence[Gain]) -> tuple[list[float], Mapping[str, list[float]]]:
    """Per group the mean score of its drafts, and by figure what was gained."""
    by_id = {score.draft_id: score.score for score in scores}
    means = [fmean(by_id[name] for name in gain.drafts) for gain in gains]
    return means, {"accuracy": [gain.accuracy for gain in gains], "log_prob": [gain.log_prob for gain in gains]}
