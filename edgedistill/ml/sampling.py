"""From logits to tokens: probabilities, and how one token is picked. numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgedistill.engine import Likeliest

Picker = Callable[[np.ndarray, list[int]], list[int]]
"""(logits (rows, vocabulary), numbers of the conversations) -> one token per row."""


def picker(count: int, temperature: float, seed: int, top_p: float = 1.0) -> Picker:
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
        return greedy(nucleus(logits / temperature, top_p) + noise, numbers)

    return pick


def nucleus(logits: np.ndarray, top_p: float) -> np.ndarray:
    """Logits (rows, vocabulary) with all but the fewest likeliest tokens that together reach `top_p` at -inf."""
    if top_p >= 1:
        return logits
    places = np.argsort(-logits, axis=1, kind="stable")
    probs = np.exp(np.take_along_axis(log_softmax(logits), places, axis=1))
    is_beyond = probs.cumsum(axis=1) - probs >= top_p
    kept = np.where(is_beyond, -np.inf, np.take_along_axis(logits, places, axis=1))
    found = np.empty_like(logits)
    np.put_along_axis(found, places, kept, axis=1)
    return found


def likeliest(log_probs: np.ndarray, answer: Sequence[int], count: int) -> Likeliest:
    """From log probabilities (T, vocabulary) at the T tokens of an answer."""
    own = log_probs[np.arange(len(answer)), list(answer)]
    if count >= log_probs.shape[1]:
        every = np.arange(log_probs.shape[1], dtype=np.int32)
        return Likeliest(np.broadcast_to(every, log_probs.shape), log_probs, own)
    ids = np.argsort(-log_probs, axis=1, kind="stable")[:, :count]
    return Likeliest(ids.astype(np.int32), np.take_along_axis(log_probs, ids, axis=1), own)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def cut(text: str, stop: str) -> str:
    """Up to the end of the first stop text."""
    return text[: text.index(stop) + len(stop)] if stop and stop in text else text
