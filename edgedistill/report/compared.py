"""What the reports of `arms` and `methods` share: an arm's accuracy, one arm minus another, and how both read."""

from __future__ import annotations

from typing import Literal

from edgedistill.sections import Section

Verdict = Literal["better", "worse", "unclear"]
"""`unclear` when the interval holds 0."""


class Result(Section):
    """One arm."""

    arm: str
    n: int
    """Test items; every run has the same."""
    accuracy: float
    """Mean over items and runs."""
    ci_low: float
    ci_high: float
    format_rate: float
    """Share of answers that can be read at all."""
    by_run: tuple[float, ...]
    """Accuracy of each run, in the order of `seeds`."""


class Difference(Section):
    """One arm minus another, on the same items and runs."""

    arm: str
    against: str
    n: int
    difference: float
    ci_low: float
    ci_high: float
    by_run: tuple[float, ...]
    verdict: Verdict


def accuracy(line: Result) -> str:
    """`0.380 (0.352 to 0.409)`"""
    return f"{line.accuracy:.3f} ({line.ci_low:.3f} to {line.ci_high:.3f})"


def change(line: Difference | None) -> str:
    """`+0.044 (+0.012 to +0.075) better`"""
    if line is None:
        return "-"
    return f"{line.difference:+.3f} ({line.ci_low:+.3f} to {line.ci_high:+.3f}) {line.verdict}"
