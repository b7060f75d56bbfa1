"""Which rows of a call share a beginning that is worth encoding once. Plain Python on token ids, no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

GROUP_COST = 512
"""Tokens' worth of work that one more group costs, since its attention runs on its own at every step."""

_DEEPEST = 200
"""Levels of nested beginnings that are looked at: a bound for odd input, far above what prompts have."""


@dataclass(frozen=True)
class Group:
    """Rows (by index) whose first `shared` tokens are equal. `shared` is 0 for rows that are encoded whole."""

    shared: int
    rows: tuple[int, ...]


def group_by_prefix(rows: Sequence[Sequence[int]]) -> list[Group]:
    """Split rows into groups such that encoding each group's prefix once saves the most tokens.

    At least one token of each row stays outside the prefix. Rows that gain nothing are in one last group, `shared` 0.
    Inside a group rows go from short to long.
    """
    order = sorted(range(len(rows)), key=lambda index: (list(rows[index]), index))
    common = [_common(rows[a], rows[b]) for a, b in pairwise(order)]
    _, spans = _best(rows, order, common, 0, len(order), 0)
    groups = [Group(shared, tuple(order[low:high])) for low, high, shared in spans]
    grouped = {index for group in groups for index in group.rows}
    alone = tuple(index for index in order if index not in grouped)
    groups += [Group(0, alone)] if alone else []
    return [Group(g.shared, tuple(sorted(g.rows, key=lambda index: (len(rows[index]), index)))) for g in groups]


def _best(
    rows: Sequence[Sequence[int]], order: list[int], common: list[int], low: int, high: int, depth: int
) -> tuple[int, list[tuple[int, int, int]]]:
    """The most tokens that order[low:high] can save, and the (low, high, shared) spans that save them."""
    longest = max((len(rows[index]) for index in order[low:high]), default=0)
    if (high - low - 1) * longest <= GROUP_COST or depth > _DEEPEST:
        return 0, []
    least = min(common[low : high - 1])
    shared = min(least, *(len(rows[index]) - 1 for index in order[low:high]))
    together = (high - low - 1) * shared - GROUP_COST
    apart = 0
    spans: list[tuple[int, int, int]] = []
    cuts = [low, *(at + 1 for at in range(low, high - 1) if common[at] == least), high]
    for start, end in pairwise(cuts):
        saved, inner = _best(rows, order, common, start, end, depth + 1)
        apart, spans = apart + saved, spans + inner
    return (together, [(low, high, shared)]) if together > apart else (apart, spans)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two rows have in common at their start."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
