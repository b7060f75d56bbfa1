"""As many tokens for one way of training as for another: rows are corrected by what their training really read.

A method's answers are as long as they turn out, and some prompts give it nothing to learn. So the tokens of a training
are known when it is over; one that read too many or too few is done again with more or fewer rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

NEAR = 0.05
"""Shares by which tokens may differ and still count as even."""
_TRIES = 3


def is_even(tokens: float, wanted: float) -> bool:
    return abs(tokens / wanted - 1) <= NEAR


def trained(
    train: Callable[[int], T], tokens: Callable[[T], int], rows: int, most: int, wanted: float | None
) -> tuple[T, int]:
    """What `train(rows)` makes once it reads about `wanted` tokens, or the nearest of the tries; and its rows.

    rows    to begin with
    most    rows that there are
    wanted  None: the first training stands
    """
    made, used = train(rows), rows
    if wanted is None:
        return made, used
    for _ in range(_TRIES - 1):
        if is_even(tokens(made), wanted):
            break
        rows = min(most, max(1, round(rows * wanted / tokens(made))))
        if rows == used:
            break
        again = train(rows)
        if abs(tokens(again) - wanted) >= abs(tokens(made) - wanted):
            break
        made, used = again, rows
    return made, used
