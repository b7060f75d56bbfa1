"""What the reports of `arms` and `methods` share: an arm's accuracy, one arm minus another, and how both read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from edgedistill.recipe import Recipe
from edgedistill.report.schema import StageLine
from edgedistill.sections import Section
from edgedistill.store import Step

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


class ComparisonReport(Section):
    """What every comparison tells; each has results of its own beside it."""

    schema_: Annotated[str, Field(alias="schema")]
    recipe: str
    title: str
    build_id: str
    started: str
    """UTC, ISO 8601."""
    seconds: float
    exit_code: int = 0
    """Always 0: a comparison is over when it is over, whichever way it went."""
    seeds: tuple[int, ...]
    teacher: str
    student: str
    answer: tuple[str, ...] = ()
    """What came out, in words."""
    stages: tuple[StageLine, ...] = ()
    conditions: dict[str, str | int | float | None] = {}


def about(
    recipe: Recipe, *, build_id: str, started: datetime, seconds: float, seeds: Sequence[int], steps: Sequence[Step]
) -> dict[str, Any]:
    """The fields of a ComparisonReport that do not hang on what was compared."""
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "build_id": build_id,
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "seeds": seeds,
        "teacher": recipe.teacher.model if recipe.teacher else "",
        "student": recipe.student.model,
        "stages": [StageLine.model_validate({**asdict(s), "seconds": round(s.seconds, 3)}) for s in steps],
    }


def accuracy(line: Result) -> str:
    """`0.380 (0.352 to 0.409)`"""
    return f"{line.accuracy:.3f} ({line.ci_low:.3f} to {line.ci_high:.3f})"


def change(line: Difference | None) -> str:
    """`+0.044 (+0.012 to +0.075) better`"""
    if line is None:
        return "-"
    return f"{line.difference:+.3f} ({line.ci_low:+.3f} to {line.ci_high:+.3f}) {line.verdict}"
