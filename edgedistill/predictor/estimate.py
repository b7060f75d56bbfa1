"""A value with its 80% interval."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value and its 80% interval."""

    value: float
    low: float
    high: float

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.value + other.value, self.low + other.low, self.high + other.high)


def within(value: float, half_log: float) -> Estimate:
    """`value` with an interval of `half_log` natural logarithms each way."""
    factor = math.exp(half_log)
    return Estimate(value, value / factor, value * factor)


def rate(count: float, seconds: Estimate) -> Estimate:
    """Per second; the longest time is the lowest rate."""
    return Estimate(count / seconds.value, count / seconds.high, count / seconds.low)
