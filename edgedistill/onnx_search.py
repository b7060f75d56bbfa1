"""Which options of a quantized ONNX export are worth their bytes: measured on rows, not guessed.

Every combination is made, its distance from the float model is measured where the student would answer, and the files
are thrown away. Of all that compute at the same accuracy level those are kept that make the most of their bits: noise
falls by a factor of four with each bit of a number, and the divergence with the noise, so `kl x 4^bits` is the same
for options that are equally good at different sizes, and the smallest is the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.engine import Messages, open_file, user
from edgedistill.errors import StageFailed

CONTEXT = 1024
"""Tokens of a row, prompt and answer; longer ones are left out."""
_NUMBERS = 30_000_000
"""Most log probabilities that are kept of the float model."""
_LEAST_KL = 1e-7
"""Nats; below, it is the rounding of float32."""


@dataclass(frozen=True)
class Reference:
    """What the float model says at every token of some answers."""

    rows: list[tuple[Messages, list[int]]]
    """Conversation, and the ids of its answer."""
    log_probs: list[Any]
    """Per row (answer + 1, vocabulary) float32."""


def reference(folder: Path, format_name: str, rows: Sequence[tuple[str, str]]) -> Reference:
    """On rows (prompt, answer), fewer of them for a large vocabulary; where there are none, or all are too long, on
    what the float model answers to a few prompts that any model has seen the like of.

    Raises  StageFailed where not even these are short enough
    """
    with open_file(folder, format_name, context=CONTEXT) as engine:
        found = _said(engine, [(user(prompt), engine.text_ids(answer)) for prompt, answer in rows])
        if not found.rows:
            prompts = [user(prompt) for prompt in _PROMPTS]
            found = _said(engine, list(zip(prompts, engine.answer_ids(prompts, max_tokens=32), strict=True)))
        if not found.rows:
            raise StageFailed(
                f"searching ONNX exports: the model's context of {engine.context} tokens is too short for any prompt",
                "leave INT8 and INT4 out of `quants`",
            )
    return found


_PROMPTS = (
    "Name three colors of the rainbow.",
    "What is 17 plus 25?",
    "Write one sentence about the sea.",
    "Once upon a time",
    "List the days of the week.",
    "How do you make tea?",
)


def _said(engine: Any, rows: Sequence[tuple[Messages, list[int]]]) -> Reference:
    """On the rows that are short enough."""
    found = Reference([], [])
    room = _NUMBERS
    for messages, answer in rows:
        if len(engine.token_ids(messages)) + len(answer) >= engine.context or room <= 0:
            continue
        log_probs = engine.step_log_probs(messages, answer)
        found.rows.append((messages, answer))
        found.log_probs.append(log_probs)
        room -= log_probs.size
    return found


def divergence(folder: Path, format_name: str, floats: Reference) -> float:
    """Mean KL from the float model to an export, nats per token, at every token of the reference's answers."""
    import numpy as np

    total = tokens = 0.0
    with open_file(folder, format_name, context=CONTEXT) as engine:
        for (messages, answer), before in zip(floats.rows, floats.log_probs, strict=True):
            after = engine.step_log_probs(messages, answer)
            total += float(np.maximum(0.0, (np.exp(before) * (before - after)).sum(axis=1)).sum())
            tokens += len(before)
    return total / tokens


def waste(row: dict[str, Any]) -> float:
    """KL times four to the power of the bits per weight: the smaller, the more was made of the bits."""
    return float(max(row["kl"], _LEAST_KL) * 4 ** row["bits_per_weight"])


def best(rows: Sequence[dict[str, Any]], keep: int, apart: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """The `keep` best rows of each kind that `apart` tells apart, in the order of the rows."""
    kinds = dict.fromkeys(map(apart, rows))
    kept = [row for kind in kinds for row in sorted((r for r in rows if apart(r) == kind), key=waste)[:keep]]
    return [row for row in rows if row in kept]
