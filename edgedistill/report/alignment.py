"""The teacher's training curve: thinned for the report, and drawn as an SVG of three panels over the steps.

Colors are CSS variables of the page, so the picture follows light and dark.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from statistics import fmean
from typing import Any

from edgedistill.report.schema import Alignment, AlignPoint

_MOST_POINTS = 100
_COLUMNS = ("loss", "reward_margin", "reward_accuracy", "kl")

_WIDTH, _HEIGHT = 760, 210
_PANEL, _GAP, _LEFT = 190, 60, 52
_TOP, _BOTTOM = 34, 40
_LINE_HEIGHT = 14


def read(rows: Iterable[dict[str, Any]]) -> Alignment | None:
    """From the rows of curve.jsonl. Of a long training each point is the mean of the steps since the one before."""
    steps = list(rows)
    if not steps:
        return None
    size = -(-len(steps) // _MOST_POINTS)
    parts = [steps[at : at + size] for at in range(0, len(steps), size)]
    points = tuple(
        AlignPoint(step=part[-1]["step"], **{name: fmean(row[name] for row in part) for name in _COLUMNS})
        for part in parts
    )
    return Alignment(steps=steps[-1]["step"], curve=points)


def picture(alignment: Alignment | None) -> str:
    """The whole `<svg>`; nothing where no teacher was aligned."""
    if alignment is None:
        return ""
    curve = alignment.curve
    steps = [point.step for point in curve]
    parts = [
        *_panel(0, "reward margin", steps, [point.reward_margin for point in curve]),
        *_panel(1, "reward accuracy", steps, [point.reward_accuracy for point in curve], middle=0.5, high=1.0),
        *_panel(2, "KL, nats per token", steps, [point.kl for point in curve]),
    ]
    title = "The teacher's training: reward margin, reward accuracy and KL over the steps"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _panel(
    place: int, title: str, steps: list[int], values: list[float], *, middle: float = 0.0, high: float = 0.0
) -> list[str]:
    """One curve in a frame from the lowest value to the highest, 0 and `high` included; `middle` is a dashed line."""
    left = _LEFT + place * (_PANEL + _GAP)
    low, top = min(0.0, *values), max(high, *values)
    span = (top - low) or 1.0

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / span * (_HEIGHT - _TOP - _BOTTOM)

    def x(step: int) -> float:
        return left + (step - steps[0]) / max(1, steps[-1] - steps[0]) * _PANEL

    points = [f"{x(step):.1f} {y(value):.1f}" for step, value in zip(steps, values, strict=True)]
    line = "M" + "L".join(points) + ("h0" if len(points) == 1 else "")
    parts = [_text(left, 18, title, "label", "start"), _line("reference", left, y(middle))]
    parts.append(_text(left - 6, y(middle) + 4, f"{middle:.3g}", "tick", "end"))
    for value in (low, low + span):
        if abs(y(value) - y(middle)) >= _LINE_HEIGHT:  # else the numbers would overlap
            parts.append(_line("grid", left, y(value)))
            parts.append(_text(left - 6, y(value) + 4, f"{value:.3g}", "tick", "end"))
    parts.append(f'<path class="curve" d="{line}"/>')
    for step, anchor in dict([(steps[-1], "end"), (steps[0], "start")]).items():
        parts.append(_text(x(step), _HEIGHT - _BOTTOM + 16, f"{step:,}", "tick", anchor))
    parts.append(_text(left + _PANEL / 2, _HEIGHT - 8, "step", "tick", "middle"))
    return parts


def _line(kind: str, left: float, y: float) -> str:
    return f'<line class="{kind}" x1="{left}" x2="{left + _PANEL}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _text(x: float, y: float, content: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
