"""Accuracy against file size, and against the time of an answer, as SVG: candidates with 95% intervals, float and base
student as reference lines.

A filled point is on the Pareto front (pareto.py), a hollow one is beaten in accuracy, size and time together. A circle
is GGUF, a square anything else. Colors are CSS variables of the page, so the pictures follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from edgedistill.report import labels, pareto
from edgedistill.report.labels import Box, Label
from edgedistill.report.schema import CandidateLine, Report

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 140, 24, 44  # reference lines are named at their right end
_LINE_HEIGHT = 15
_SMALL, _LARGE = 4.0, 11.0
"""Radii, pixels: of the smallest and the largest file in the picture of times."""
_RADIUS = 5.0


def accuracy_against_size(report: Report) -> str:
    """The whole `<svg>`, or nothing when no candidate has an accuracy."""
    shown = _evaluated(report)
    if not shown:
        return ""
    axis = _Axis(0.0, _nice_above(max(map(_mib, shown)) * 1.08), "file size, MiB")
    return _svg(report, shown, axis, _mib, lambda one: _RADIUS, "Accuracy against file size")


def accuracy_against_time(report: Report) -> str:
    """The same over the time of an answer, with larger points for larger files; nothing where no time is known."""
    shown = [one for one in _evaluated(report) if one.latency and one.latency.answer_ms is not None]
    if not shown:
        return ""
    times = list(map(_answer_ms, shown))
    evidence = "" if all(one.latency and one.latency.evidence == "measured" for one in shown) else "predicted "
    # Logarithmic: one slow kernel would squeeze all others.
    axis = _LogAxis(min(times) / 1.25, max(times) * 1.25, f"{evidence}time of an answer, ms, logarithmic")
    largest = max(one.bytes for one in shown)

    def radius(one: CandidateLine) -> float:  # its area grows with the file
        return _SMALL + (_LARGE - _SMALL) * math.sqrt(one.bytes / largest)

    return _svg(report, shown, axis, _answer_ms, radius, "Accuracy against the time of an answer")


def _evaluated(report: Report) -> list[CandidateLine]:
    return sorted((one for one in report.candidates if one.accuracy), key=lambda one: one.bytes)


def _mib(one: CandidateLine) -> float:
    return one.bytes / 2**20


def _answer_ms(one: CandidateLine) -> float:
    assert one.latency and one.latency.answer_ms is not None
    return one.latency.answer_ms


class _Axis:
    """Values of the horizontal axis to pixels."""

    def __init__(self, low: float, high: float, title: str) -> None:
        self.low, self.high, self.title = low, high, title

    def x(self, value: float) -> float:
        return _LEFT + (value - self.low) / (self.high - self.low) * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[float]:
        return [self.low + (self.high - self.low) * part / 5 for part in range(6)]

    def parts(self) -> list[str]:
        y = _HEIGHT - _BOTTOM + 18
        made = [_text(self.x(value), y, f"{value:.3g}", "tick", "middle") for value in self.ticks()]
        return [*made, _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, self.title, "tick", "middle")]


class _LogAxis(_Axis):
    """The same for values above 0, where equal distances are equal ratios."""

    def x(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten; powers alone where these would be too many, ends where they are too few."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        inside = [value for value in found if self.low <= value <= self.high]
        if len(inside) > 9:
            return [value for value in inside if math.log10(value).is_integer()]
        return inside if len(inside) > 1 else [self.low, self.high]


class _Scale:
    """Accuracy to pixels, with a margin, within 0-1. The base student may lie outside: it would squeeze the others."""

    def __init__(self, report: Report, shown: Sequence[CandidateLine]) -> None:
        values = [bound for one in shown if one.accuracy for bound in (one.accuracy.ci_low, one.accuracy.ci_high)]
        if report.student:
            values.append(report.student.tuned_accuracy)
        low, high = min(values), max(values)
        margin = max(0.05, 0.12 * (high - low))
        self.low, self.high = max(0.0, low - margin), min(1.0, high + margin)

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def parts(self) -> list[str]:
        made = [_text(_LEFT - 44, 14, "accuracy on the test items", "tick", "start")]
        for tick in _ticks(self.low, self.high):
            y = self.y(tick)
            made.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            made.append(_text(_LEFT - 8, y + 4, f"{tick:.2f}", "tick", "end"))
        return made


def _nice_above(value: float) -> float:
    """The next 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def _ticks(low: float, high: float) -> list[float]:
    span = high - low
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 6 or step == 0.2)
    return [round(n * step, 2) for n in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _svg(
    report: Report,
    shown: Sequence[CandidateLine],
    axis: _Axis,
    value: Callable[[CandidateLine], float],
    radius: Callable[[CandidateLine], float],
    title: str,
) -> str:
    scale, front = _Scale(report, shown), pareto.front(report.candidates)
    # The chosen one is named first: it gets the best place.
    order = sorted(shown, key=lambda one: not one.chosen)
    points = [(axis.x(value(one)), _accuracy_y(one, scale), radius(one), _label(one)) for one in order]
    frame = Box(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)
    parts = [*axis.parts(), *scale.parts(), *_references(report, scale)]
    for one, point, label in zip(order, points, labels.place(points, frame), strict=True):
        parts += _point(one, point, label, scale, one in front)
    told = escape(f"{title} of {report.recipe} on {report.target}")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{told}"><title>{told}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _label(one: CandidateLine) -> str:
    name = one.quant if one.format == "gguf" else f"{one.format.removesuffix('_genai')} {one.quant}"
    return name + (" (chosen)" if one.chosen else "")


def _accuracy_y(one: CandidateLine, scale: _Scale) -> float:
    assert one.accuracy
    return scale.y(one.accuracy.value)


def _references(report: Report, scale: _Scale) -> list[str]:
    if report.student is None:
        return []
    student, parts = report.student, []
    values = {"float student": student.tuned_accuracy, "base student": student.base_accuracy}
    is_close = abs(scale.y(student.tuned_accuracy) - scale.y(student.base_accuracy)) < _LINE_HEIGHT
    upper = max(values, key=lambda name: values[name])
    for name, value in values.items():
        y = min(max(scale.y(value), _TOP), _HEIGHT - _BOTTOM)
        if not scale.low <= value <= scale.high:
            parts.append(_text(_WIDTH - _RIGHT + 8, y - 6, f"{name} {value:.3f}", "label", "start"))
            parts.append(_text(_WIDTH - _RIGHT + 8, y + 8, "beyond the picture", "tick", "start"))
            continue
        apart = (-_LINE_HEIGHT if name == upper else _LINE_HEIGHT) / 2 if is_close else 0
        parts.append(f'<line class="reference" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_WIDTH - _RIGHT + 8, y + 4 + apart, f"{name} {value:.3f}", "label", "start"))
    return parts


def _point(
    one: CandidateLine, point: tuple[float, float, float, str], label: Label | None, scale: _Scale, is_on_front: bool
) -> list[str]:
    assert one.accuracy is not None
    x, y, radius, text = point
    low, high = scale.y(one.accuracy.ci_low), scale.y(one.accuracy.ci_high)
    kind = f"{'chosen' if one.chosen else 'other'} {'front' if is_on_front else 'beaten'}"
    whiskers = "".join(f"M{x - 3:.1f} {end:.1f}h6" for end in (low, high))
    said = f"{one.name}: {one.accuracy.value:.3f}, n = {one.accuracy.n}, {_mib(one):.2f} MiB"
    made = [
        f'<g class="{kind}"><title>{escape(said)}</title>',
        f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}{whiskers}"/>',
        _mark(one, x, y, radius),
    ]
    if label and label.has_line:
        near = label.x if label.x > x else label.x + labels.CHARACTER * len(text)
        made.append(f'<path class="leader" d="M{x:.1f} {y:.1f}L{near:.1f} {label.y:.1f}"/>')
    if label:
        made.append(_text(label.x, label.y + 4, text, "label", "start"))
    return [*made, "</g>"]


def _mark(one: CandidateLine, x: float, y: float, radius: float) -> str:
    if one.format == "gguf":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
    side = 2 * radius * 0.88  # about as much ink as the circle
    return f'<rect x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"/>'


def _text(x: float, y: float, content: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
