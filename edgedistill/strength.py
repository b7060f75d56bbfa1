"""How strong a preference is: what other exam items of the same kind would have said of the same two drafts.

The items that both sides answered are drawn again, 2,000 times, and with them the difference of the two scores.

Source   B. Wang et al., "Secrets of RLHF in Large Language Models Part II", arXiv:2401.06080, sec. 2.1: the mean and
         the standard deviation of a pair's gap, there over ten reward models. Here one student is the scorer, and its
         exam is resampled in their place
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from edgedistill.artifacts import Score

RESAMPLES = 2000
_SEED = 20240111
_HAIR = 1e-9

Credits = Sequence[float | None]
"""Per exam item 0-1, None where it was not asked."""


@dataclass(frozen=True)
class Strength:
    """Of the gap between two scores. Where fewer than two items were answered by both, nothing is known of it."""

    spread: float | None
    """Standard deviation over the resamples; None where nothing is known."""
    doubt: float
    """Share of the resamples in which the order turns, equal ones counted half; 0.5 where nothing is known."""
    low: float
    high: float
    """95% of the gap."""

    @property
    def is_equal(self) -> bool:
        """The exam cannot tell the two apart: 0 is within what the gap may be."""
        return self.spread is not None and self.low <= _HAIR and self.high >= -_HAIR


def measure(better: Credits, worse: Credits, gap: float) -> Strength:
    """The strength of `gap`, the score of one side minus that of the other.

    The resamples are moved to the gap: with racing it is an estimate of more items than both sides answered.
    """
    import numpy as np

    changes = [a - b for a, b in zip(better, worse, strict=True) if a is not None and b is not None]
    if len(changes) < 2:
        return Strength(None, 0.5, -math.inf, math.inf)
    drawn = _draws(len(changes)) @ np.array(changes) + (gap - fmean(changes))
    turned = np.count_nonzero(drawn < -_HAIR) + np.count_nonzero(np.abs(drawn) <= _HAIR) / 2
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Strength(float(drawn.std()), float(turned / RESAMPLES), float(low), float(high))


@lru_cache(maxsize=64)
def _draws(items: int) -> Any:
    """(RESAMPLES, items) share of each item in each resample: the same for all pairs, so that they are paired too."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    return random.multinomial(items, np.full(items, 1 / items), size=RESAMPLES) / items


def mean_credits(scores: Sequence[Score]) -> list[float | None]:
    """Per exam item the mean over the drafts that answered it: what a question is worth by its drafts."""
    columns = (
        [credit for credit in item if credit is not None] for item in zip(*(s.credits for s in scores), strict=True)
    )
    return [fmean(asked) if asked else None for asked in columns]
