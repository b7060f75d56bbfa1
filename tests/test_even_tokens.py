"""Rows that make a training read as many tokens as another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgedistill import even_tokens


def trained(
    per_row: Callable[[int], float], rows: int, most: int, wanted: float | None
) -> tuple[float, int, list[int]]:
    """Tokens, rows, and the rows of all tries, where `per_row(rows)` tokens are read of each."""
    tries: list[int] = []

    def train(rows: int) -> float:
        tries.append(rows)
        return rows * per_row(rows)

    return *even_tokens.trained(train, int, rows, most, wanted), tries


def test_what_is_even_is_trained_once() -> None:
    assert trained(lambda rows: 10, 100, 500, 1040) == (1000, 100, [100])
    assert trained(lambda rows: 10, 100, 500, None) == (1000, 100, [100])


def test_rows_follow_the_tokens_that_were_read() -> None:
    """8 tokens a row: 100 rows read 800 of 1,000, 125 all of them."""
    assert trained(lambda rows: 8, 100, 500, 1000) == (1000, 125, [100, 125])


def test_tokens_per_row_may_change_with_the_rows() -> None:
    """10 a row up to 100 rows, then 12: 150 rows read 1,800 of 1,500, 125 then 1,500."""
    assert trained(lambda rows: 10 if rows <= 100 else 12, 100, 500, 1500) == (1500, 125, [100, 150, 125])


def test_there_are_no_more_rows_than_there_are() -> None:
    assert trained(lambda rows: 5, 100, 120, 1000) == (600, 120, [100, 120])


def test_a_worse_try_does_not_replace_a_better_one() -> None:
    """Tokens that jump: 100 rows read 800, the 125 after them 2,500."""
    assert trained(lambda rows: 8 if rows <= 100 else 20, 100, 500, 1000) == (800, 100, [100, 125])


@pytest.mark.parametrize(("tokens", "is_even"), [(95.1, True), (104.9, True), (94.0, False), (106.0, False)])
def test_five_percent_are_even(tokens: float, is_even: bool) -> None:
    assert even_tokens.is_even(tokens, 100) is is_even
