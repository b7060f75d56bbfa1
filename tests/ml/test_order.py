"""The order of training rows."""

from __future__ import annotations

from collections import Counter

from edgedistill.ml.order import order

LENGTHS = [(number * 37) % 101 + 1 for number in range(1003)]


def test_every_row_comes_once_per_epoch() -> None:
    assert Counter(order(LENGTHS, epochs=3, chunk=8, seed=0)) == {row: 3 for row in range(1003)}


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    first = order(LENGTHS, epochs=2, chunk=8, seed=1)
    assert first == order(LENGTHS, epochs=2, chunk=8, seed=1)
    assert first != order(LENGTHS, epochs=2, chunk=8, seed=2)


def test_chunks_hold_rows_of_similar_length() -> None:
    """Padding is below 8% of the tokens; in a random order of these lengths it is about 43%."""
    arranged = order(LENGTHS, epochs=2, chunk=8, seed=0)
    chunks = [arranged[at : at + 8] for at in range(0, len(arranged), 8)]
    padded = sum(max(LENGTHS[row] for row in chunk) * len(chunk) for chunk in chunks)
    assert padded <= 1.08 * sum(LENGTHS[row] for row in arranged)


def test_lengths_do_not_rise_from_start_to_end() -> None:
    arranged = order(LENGTHS, epochs=1, chunk=8, seed=0)
    halves = [sum(LENGTHS[row] for row in half) / len(half) for half in (arranged[:500], arranged[500:])]
    assert abs(halves[0] - halves[1]) < 5


def test_fewer_rows_than_a_chunk_are_one_short_chunk() -> None:
    assert sorted(order([5, 3, 4], epochs=1, chunk=8, seed=0)) == [0, 1, 2]
