"""Intervals and tests for shares and pairs of shares: closed forms, bisection, and bootstraps of a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Z_95 = 1.959963984540054
"""Two-sided 95% of the normal distribution."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class PairedDrop:
    """How much a share fell between two measurements of the same items."""

    n: int
    lost: int
    """Right before, wrong after."""
    gained: int
    """Wrong before, right after."""
    drop: float
    """Before minus after, -1 to 1."""
    interval: Interval
    """95%, of the drop, by Tango's score."""
    bootstrap: Interval
    """95%, of the drop, by drawing the items again."""
    mcnemar_p: float

    @property
    def worst(self) -> float:
        """The largest drop that either interval allows for: what a non-inferiority margin is held against."""
        return max(self.interval.high, self.bootstrap.high)


def wilson(successes: int, n: int, z: float = Z_95) -> Interval:
    """Score interval of a share. (0, 1) when n is 0: nothing is known.

    Source  Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    share, slack = successes / n, z * z / n
    center = (share + slack / 2) / (1 + slack)
    half = z / (1 + slack) * math.sqrt(share * (1 - share) / n + slack / (4 * n))
    # At 0 and n the formula gives the bound exactly, up to rounding.
    return Interval(0.0 if successes == 0 else center - half, 1.0 if successes == n else center + half)


def paired_drop(before: Sequence[bool], after: Sequence[bool]) -> PairedDrop:
    """The drop of a share, with two intervals and the exact McNemar test. Both sequences are of the same items."""
    assert len(before) == len(after), (len(before), len(after))
    n = len(before)
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    gained = sum(a and not b for b, a in zip(before, after, strict=True))
    drop = (lost - gained) / n if n else 0.0
    intervals = tango(lost, gained, n), bootstrap_drop(lost, gained, n)
    return PairedDrop(n, lost, gained, drop, *intervals, mcnemar_exact(lost, gained))


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided p that losses and gains are equally likely: a fair coin, thrown `lost + gained` times.

    Source  McNemar 1947, Psychometrika 12, 153-157; exact form.
    """
    thrown, fewer = lost + gained, min(lost, gained)
    tail = sum(math.comb(thrown, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << thrown))


def tango(lost: int, gained: int, n: int, z: float = Z_95) -> Interval:
    """Score interval of the paired difference (lost - gained) / n. It keeps its width when nothing differs, where the
    usual standard error is 0, and that is the common case here.

    Source  Tango 1998, Statistics in Medicine 17, 891-908, equations 4 and 6.
    """
    if n == 0:
        return Interval(-1.0, 1.0)

    def score(delta: float) -> float:
        b = -lost - gained + (2 * n - lost + gained) * delta
        c = -gained * delta * (1 - delta)
        share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)  # of gains, if the difference were delta
        variance = n * (2 * share + delta * (1 - delta))
        distance = lost - gained - n * delta
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    drop = (lost - gained) / n
    low = -1.0 if drop == -1 else _falling_root(lambda d: score(d) - z, -1.0, drop)
    high = 1.0 if drop == 1 else _falling_root(lambda d: score(d) + z, drop, 1.0)
    return Interval(low, high)


def bootstrap_drop(lost: int, gained: int, n: int, resamples: int = 10_000) -> Interval:
    """Percentile interval of (lost - gained) / n under a paired bootstrap: items are drawn again, each with both of its
    answers. An item is lost, gained or neither, so n draws of items are one draw of a multinomial.

    It has no width when nothing differs, where Tango's has some.

    Source  Efron and Tibshirani 1993, An Introduction to the Bootstrap, sec. 13.3
    """
    if n == 0:
        return Interval(-1.0, 1.0)
    import numpy as np

    shares = [lost / n, gained / n, (n - lost - gained) / n]
    drawn = np.random.default_rng(19930501).multinomial(n, shares, size=resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [0.025, 0.975])
    return Interval(float(low), float(high))


def percentile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest values; share 0-1."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float]) -> float:
    """Distance between the quartiles as a share of the median: how far repeats disagree."""
    return (percentile(values, 0.75) - percentile(values, 0.25)) / percentile(values, 0.5)


def _falling_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0, to 1e-12."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def resampled_means(tables: Sequence[Any], resamples: int = 10_000) -> Any:
    """Means over items, under a bootstrap of the items of each table. All arms get the same draws: they are paired.

    Shapes   A arms, I items (of each table its own number), T tables, N resamples
        tables   T of (A, I) float
        returns  (N, T, A) float
    """
    import numpy as np

    random = np.random.default_rng(20240627)
    means = np.empty((resamples, len(tables), tables[0].shape[0]))
    for place, table in enumerate(tables):
        items = table.shape[1]
        for start in range(0, resamples, 1000):
            count = min(1000, resamples - start)
            drawn = random.integers(items, size=(count, items)) + items * np.arange(count)[:, None]
            weights = np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items)
            means[start : start + count, place] = weights @ table.T / items
    return means


def variance_of_runs(tables: Sequence[Any], weights: Sequence[float]) -> float:
    """How much the mean over S runs varies because runs differ, beyond what the items in them explain; 0 for one run.

    Two factors, items and runs, that cross: var of the runs' means = runs' own variance + residual / items. Drawing
    both factors again in a bootstrap would count the residual three times (Owen 2007, Ann. Appl. Stat. 1, 386-411), so
    the runs' part is estimated by moments. Few runs say little about it: 3 runs leave 2 degrees of freedom.

    Shapes   T tables, S runs, I items (of each table its own number)
        tables   T of (S, I) float
        weights  T, of each table's mean in the whole
    """
    runs = int(tables[0].shape[0])
    if runs == 1:
        return 0.0
    means = sum(weight * table.mean(axis=1) for weight, table in zip(weights, tables, strict=True))
    noise: float = sum(
        weight**2 * _residual(table) / table.shape[1] for weight, table in zip(weights, tables, strict=True) if weight
    )
    return max(0.0, float(means.var(ddof=1)) - noise) / runs


def _residual(table: Any) -> float:
    """Variance of an (S, I) table that neither its rows nor its columns explain."""
    runs, items = table.shape
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((rest**2).sum() / ((runs - 1) * max(1, items - 1)))
