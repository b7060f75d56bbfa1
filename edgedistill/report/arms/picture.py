"""Values with intervals as an SVG, one row each: the arms' accuracies, or differences around a line at 0.

Colors are CSS variables of the page, so the picture follows light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from edgedistill.comparison import MEAN_OF_TASKS
from edgedistill.report.arms import words
from edgedistill.report.arms.schema import ArmsReport

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 190, 70, 14, 44
_ROW = 30


@dataclass(frozen=True)
class Row:
    """One value with its interval, the values of the runs, and the paper's value where there is one."""

    label: str
    value: float
    low: float
    high: float
    by_run: tuple[float, ...]
    kind: str = "other"
    """CSS class: `other`, `chosen`, `better`, `worse`, `unclear`."""
    paper: float | None = None


def accuracies(report: ArmsReport, shots: int) -> str:
    """All arms, mean of tasks."""
    rows = []
    for arm in report.arms:
        line = report.result(arm, shots, MEAN_OF_TASKS)
        kind = "chosen" if arm == "arte" else "other"
        rows.append(Row(arm, line.accuracy, line.ci_low, line.ci_high, line.by_run, kind))
    return draw(rows, f"accuracy, {words.shots(shots)}, {MEAN_OF_TASKS}", has_zero=False)


def differences(report: ArmsReport, shots: int, against: str) -> str:
    """`arte` minus another arm, task by task and over all; nothing when one of the two was not run."""
    rows = []
    for scope in dict.fromkeys(line.scope for line in report.results):
        if line := report.difference("arte", against, shots, scope):
            own = (line.difference, line.ci_low, line.ci_high, line.by_run)
            rows.append(Row(scope, *own, line.verdict, line.paper if scope == MEAN_OF_TASKS else None))
    return draw(rows, f"arte minus {against}, {words.shots(shots)}", has_zero=True)


def draw(rows: Sequence[Row], title: str, *, has_zero: bool) -> str:
    """The rows below each other on one axis; nothing without rows."""
    if not rows:
        return ""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    low, high = _span(rows, has_zero)

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = []
    for tick in _ticks(low, high):
        kind = "zero" if has_zero and tick == 0 else "grid"
        at = f'x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"'
        parts.append(f'<line class="{kind}" {at}/>')
        sign = "+" if has_zero and tick else ""
        parts.append(_text(x(tick), height - _BOTTOM + 17, f"{tick:{sign}.2f}", "tick", "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 8, title, "tick", "middle"))
    for number, row in enumerate(rows):
        parts += _row(row, x, _TOP + _ROW * (number + 0.5), has_zero)
    name = escape(title)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}"><title>{name}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _row(row: Row, x: Callable[[float], float], y: float, has_zero: bool) -> list[str]:
    sign = "+" if has_zero else ""
    told = f"{row.value:{sign}.3f}"
    low, high, value = x(row.low), x(row.high), x(row.value)
    whiskers = "".join(f"M{end:.1f} {y - 5:.1f}v10" for end in (low, high))
    hover = f"{row.label}: {told} ({row.low:{sign}.3f} to {row.high:{sign}.3f})"
    parts = [f'<g class="{row.kind}"><title>{escape(hover)}</title>']
    parts.append(_text(_LEFT - 12, y + 4, row.label, "label", "end"))
    parts += [f'<circle class="run" cx="{x(one):.1f}" cy="{y + 9:.1f}" r="2.5"/>' for one in row.by_run]
    parts.append(f'<path d="M{low:.1f} {y:.1f}H{high:.1f}{whiskers}"/>')
    parts.append(f'<circle cx="{value:.1f}" cy="{y:.1f}" r="5"/>')
    if row.paper is not None:
        at = x(row.paper)
        parts.append(f'<path class="paper" d="M{at:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"/>')
    return [*parts, _text(_WIDTH - _RIGHT + 10, y + 4, told, "label", "start"), "</g>"]


def _span(rows: Sequence[Row], has_zero: bool) -> tuple[float, float]:
    """From the lowest to the highest value that is drawn, with a margin; a line at 0 is always within."""
    values = [value for row in rows for value in (row.low, row.high, *row.by_run)]
    values += [row.paper for row in rows if row.paper is not None]
    values += [0.0] if has_zero else []
    low, high = min(values), max(values)
    margin = max(0.01, 0.05 * (high - low))
    return (low - margin, high + margin) if has_zero else (max(0.0, low - margin), min(1.0, high + margin))


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / step <= 8 or step == 0.5)
    return [round(n * step, 2) + 0.0 for n in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _text(x: float, y: float, content: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
