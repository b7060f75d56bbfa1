"""Names beside the points of a picture, so that no name covers a point or another name.

Each name takes the nearest free place around its point, in the order given; far ones get a line to their point. In a
crowd without a free place a name is left out: the page's table and the point's tooltip have it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 7.2
"""Pixels of one character at 12 px, on average, in a wide font."""
HEIGHT = 13.0
_RINGS = (11.0, 20.0, 32.0, 46.0, 62.0)
"""Distances from the point that are tried, pixels."""
_DIRECTIONS = tuple(math.radians(angle) for angle in (0, 180, -90, 90, -45, -135, 45, 135, -20, 200, 20, 160))
"""Right and left first, then above and below. y grows downwards."""
_NEAR = 14.0
"""Up to here no line is needed."""


@dataclass(frozen=True)
class Box:
    """Left, top, right and bottom in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def is_within(self, other: Box) -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Label:
    """Where a name stands: the middle of its left edge, and whether a line leads to its point."""

    x: float
    y: float
    has_line: bool


def place(points: Sequence[tuple[float, float, float, str]], frame: Box) -> list[Label | None]:
    """For each (x, y, radius, text) where the text goes; None where there is no room."""
    taken = [Box(x - r, y - r, x + r, y + r) for x, y, r, _ in points]
    found: list[Label | None] = []
    for x, y, radius, text in points:
        label = next((one for one in _places(x, y, radius, text) if _is_free(one[1], taken, frame)), None)
        found.append(label[0] if label else None)
        if label:
            taken.append(label[1])
    return found


def _is_free(box: Box, taken: Sequence[Box], frame: Box) -> bool:
    return box.is_within(frame) and not any(box.meets(other) for other in taken)


def _places(x: float, y: float, radius: float, text: str) -> list[tuple[Label, Box]]:
    width, made = CHARACTER * len(text), []
    for ring in _RINGS:
        for angle in _DIRECTIONS:
            far = radius + ring - _RINGS[0] + 4
            at, middle = x + far * math.cos(angle), y + far * math.sin(angle)
            left = at if math.cos(angle) > 0.1 else at - width if math.cos(angle) < -0.1 else at - width / 2
            middle += HEIGHT / 2 * math.sin(angle)
            box = Box(left, middle - HEIGHT / 2, left + width, middle + HEIGHT / 2)
            made.append((Label(left, middle, ring > _NEAR), box))
    return made
