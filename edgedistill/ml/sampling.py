"""From logits to tokens: probabilities, and how one token is picked. numpy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Picker = Callable[[np.ndarray, list[int]], list[int]]
"""(logits (rows, vocabulary), numbers of the conversations) -> one token per row."""


def picker(count: int, temperature: float, seed: int) -> Picker:
    """Greedy at temperature 0, else draws. Each of `count` conversations has random numbers of its own."""

    def greedy(logits: np.ndarray, numbers: list[int]) -> list[int]:
        found: list[int] = logits.argmax(axis=1).tolist()
        return found

    if temperature == 0:
        return greedy
    random = [np.random.default_rng([seed, number]) for number in range(count)]

    def pick(logits: np.ndarray, numbers: list[int]) -> list[int]:
        # Gumbel-max: the largest of logit/T plus noise is a draw from the softmax at T.
        noise = np.stack([random[number].gumbel(size=logits.shape[1]) for number in numbers])
        return greedy(logits / temperature + noise, numbers)

    return pick


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def cut(text: str, stop: str) -> str:
    """Up to the end of the first stop text."""
    return text[: text.index(stop) + len(stop)] if stop and stop in text else text
