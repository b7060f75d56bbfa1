"""The order in which training sees its rows, fixed before it starts, so that a resumed run continues in it."""

from __future__ import annotations

import random

_WINDOW = 32
"""Chunks that are sorted by length together: enough to pad little, few enough that epochs stay mixed."""


def order(lengths: list[int], *, epochs: int, chunk: int, seed: int) -> list[int]:
    """Row numbers for all epochs in a row; neighbours in a chunk are of similar length, so little is padding.

    Every row comes once per epoch. `chunk` rows go through the model at once; a chunk that is not full comes last.
    """
    draw = random.Random(seed)
    queue: list[int] = []
    for _ in range(epochs):
        rows = list(range(len(lengths)))
        draw.shuffle(rows)
        queue += rows
    arranged: list[int] = []
    for start in range(0, len(queue), _WINDOW * chunk):
        window = sorted(queue[start : start + _WINDOW * chunk], key=lambda row: lengths[row])
        arranged += _shuffled_chunks(window, chunk, draw)
    return arranged


def _shuffled_chunks(window: list[int], chunk: int, draw: random.Random) -> list[int]:
    full = [window[at : at + chunk] for at in range(0, len(window) - chunk + 1, chunk)]
    rest = window[len(full) * chunk :]
    draw.shuffle(full)
    return [row for rows in full for row in rows] + rest
