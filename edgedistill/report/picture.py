"""Accuracy against file size as an SVG: candidates with 95% intervals, float and base student as reference lines.

Colors are CSS variables of the page, so the picture follows light and dark.
"""

from __future__ import annotations

import math
from html import escape

from edgedistill.report.schema import CandidateLine, Report

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 140, 24, 44  # reference lines are named at their right end
_LINE_HEIGHT = 15
_LABEL_WIDTH = 76
"""Two labels nearer than this would overlap."""


def accuracy_against_size(report: Report) -> str:
    """The whole `<svg>`, or nothing when no candidate has an accuracy."""
    shown = sorted((one for one in report.candidates if one.accuracy), key=lambda one: one.bytes)
    if not shown:
        return ""
    scale = _Scale(report, shown)
    parts = [*_axes(scale), *_references(report, scale)]
    for one, label in zip(shown, _label_places([scale.x(one.bytes) for one in shown]), strict=True):
        parts += _point(one, scale, label)
    title = escape(f"Accuracy against file size of {report.recipe} on {report.target}")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _label_places(xs: list[float]) -> list[str]:
    """`above` where there is room; of close neighbors the first is labelled at its left, the others at their right."""
    places = []
    for left, x, right in zip([-math.inf, *xs[:-1]], xs, [*xs[1:], math.inf], strict=True):
        near_left, near_right = x - left < _LABEL_WIDTH, right - x < _LABEL_WIDTH
        places.append("right" if near_left else "left" if near_right else "above")
    return places


class _Scale:
    """Bytes and accuracy to pixels. Sizes start at 0; accuracies have a margin, within 0-1."""

    def __init__(self, report: Report, shown: list[CandidateLine]) -> None:
        self.mib_max = _nice_above(max(one.bytes for one in shown) / 2**20 * 1.08)
        values = [bound for one in shown if one.accuracy for bound in (one.accuracy.ci_low, one.accuracy.ci_high)]
        if report.student:
            values += [report.student.base_accuracy, report.student.tuned_accuracy]
        low, high = min(values), max(values)
        margin = max(0.05, 0.12 * (high - low))
        self.low, self.high = max(0.0, low - margin), min(1.0, high + margin)

    def x(self, count: float) -> float:
        return _LEFT + count / 2**20 / self.mib_max * (_WIDTH - _LEFT - _RIGHT)

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _nice_above(value: float) -> float:
    """The next 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def _ticks(low: float, high: float) -> list[float]:
    span = high - low
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 6 or step == 0.2)
    return [round(n * step, 2) for n in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _axes(scale: _Scale) -> list[str]:
    parts = []
    for tick in _ticks(scale.low, scale.high):
        y = scale.y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:.2f}", "tick", "end"))
    for part in range(6):
        mib = scale.mib_max * part / 5
        parts.append(_text(scale.x(mib * 2**20), _HEIGHT - _BOTTOM + 18, f"{mib:g}", "tick", "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "file size, MiB", "tick", "middle"))
    parts.append(_text(_LEFT - 44, 14, "accuracy on the test items", "tick", "start"))
    return parts


def _references(report: Report, scale: _Scale) -> list[str]:
    if report.student is None:
        return []
    student, parts = report.student, []
    values = {"float student": student.tuned_accuracy, "base student": student.base_accuracy}
    is_close = abs(scale.y(student.tuned_accuracy) - scale.y(student.base_accuracy)) < _LINE_HEIGHT
    upper = max(values, key=lambda name: values[name])
    for name, value in values.items():
        y = scale.y(value)
        apart = (-_LINE_HEIGHT if name == upper else _LINE_HEIGHT) / 2 if is_close else 0
        parts.append(f'<line class="reference" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_WIDTH - _RIGHT + 8, y + 4 + apart, f"{name} {value:.3f}", "label", "start"))
    return parts


def _point(one: CandidateLine, scale: _Scale, place: str) -> list[str]:
    assert one.accuracy is not None
    x, y = scale.x(one.bytes), scale.y(one.accuracy.value)
    low, high = scale.y(one.accuracy.ci_low), scale.y(one.accuracy.ci_high)
    kind = "chosen" if one.chosen else "other"
    label = one.quant + (" (chosen)" if one.chosen else "")
    at = {"above": (x, high - 7, "middle"), "left": (x - 11, y + 4, "end"), "right": (x + 11, y + 4, "start")}[place]
    whiskers = "".join(f"M{x - 5:.1f} {end:.1f}h10" for end in (low, high))
    return [
        f'<g class="{kind}"><title>{escape(one.name)}: {one.accuracy.value:.3f}, n = {one.accuracy.n}</title>',
        f'<path d="M{x:.1f} {low:.1f}V{high:.1f}{whiskers}"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if one.chosen else 4.5}"/>',
        _text(at[0], at[1], label, "label", at[2]),
        "</g>",
    ]


def _text(x: float, y: float, content: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
