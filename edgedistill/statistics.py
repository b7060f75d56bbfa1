"""Intervals and tests for shares and for pairs of shares. Closed forms and bisection, nothing random."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """95%, of the drop."""
    mcnemar_p: float


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
    """The drop of a share, with Tango's interval and the exact McNemar test. Both sequences are of the same items."""
    assert len(before) == len(after), (len(before), len(after))
    n = len(before)
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    gained = sum(a and not b for b, a in zip(before, after, strict=True))
    drop = (lost - gained) / n if n else 0.0
    return PairedDrop(n, lost, gained, drop, tango(lost, gained, n), mcnemar_exact(lost, gained))


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
