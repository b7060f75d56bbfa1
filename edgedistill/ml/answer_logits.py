"""What a model says at the answers' tokens, without holding more logits than memory has room for.

At 150,000 tokens of vocabulary a batch of long answers has gigabytes of logits, and a loss holds them several times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edgedistill.ml.turns import Turn

_LOGITS_LIMIT = 1 << 26
"""Logits that may be held at once: 256 MiB as float32, and that for each copy that a loss makes of them."""

Judge = Callable[..., Tensor]
"""(logits (n, V), targets (n,), n rows of each further tensor) -> (n,) or (n, M), of each token by itself."""


def at_answers(model: Any, turns: Sequence[Turn], judge: Judge, *beside: Tensor) -> Tensor:
    """What `judge` makes of each token of the answers; turns go through the model together.

    Where there are too many logits, the model's head goes over some tokens at a time, and again in the backward pass:
    the same numbers and gradients, in a little more time.

    Shapes   R turns, N tokens of all answers together, in their order, V vocabulary
        beside   (N, …) each
        returns  (N,) or (N, M), as `judge` does
    """
    asked = _Asked.of(turns, model.device)
    vocabulary = model.config.get_text_config().vocab_size
    if asked.columns.numel() * len(turns) * vocabulary <= _LOGITS_LIMIT:
        return judge(*_logits(model, asked), *beside)
    states = _last_states(model, asked)  # (N, H)
    size = max(1, _LOGITS_LIMIT // vocabulary)

    def one(states: Tensor, *given: Tensor) -> Tensor:
        return judge(_head(model, states), *given)

    tiles = zip(*(tensor.split(size) for tensor in (states, asked.targets, *beside)), strict=True)
    return torch.cat([checkpoint(one, *tile, use_reentrant=False) for tile in tiles])


def answer_logits(model: Any, turns: Sequence[Turn]) -> tuple[Tensor, Tensor]:
    """Logits at the answers' tokens, all of them, and these tokens.

    Shapes   as `at_answers`
        returns  (N, V) float    what predicts each token
                 (N,)   int64    the tokens
    """
    return _logits(model, _Asked.of(turns, model.device))


@dataclass(frozen=True)
class _Asked:
    """Turns as one batch of R rows with T positions, padded on the right."""

    ids: Tensor
    """(R, T) int64"""
    seen: Tensor
    """(R, T) int64, 0 on padding"""
    picked: Tensor
    """(R, T) bool, where the next token is one of the answer's"""
    columns: Tensor
    """(C,) int64, positions that are picked in any row"""
    targets: Tensor
    """(N,) int64, those next tokens"""

    @classmethod
    def of(cls, turns: Sequence[Turn], device: torch.device) -> _Asked:
        longest = max(map(len, turns))
        ids = torch.zeros(len(turns), longest, dtype=torch.long)
        seen, picked = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for row, turn in enumerate(turns):
            ids[row, : len(turn)] = torch.tensor(turn.input_ids)
            seen[row, : len(turn)] = 1
            picked[row, len(turn.prompt_ids) - 1 : len(turn) - 1] = True  # position t predicts token t + 1
        columns = picked.any(dim=0).nonzero()[:, 0]
        targets = ids.roll(-1, dims=1)[picked]
        return cls(*(tensor.to(device) for tensor in (ids, seen, picked, columns, targets)))

    def through(self, model: Any, kept: Any) -> Tensor:
        """Logits at the positions `kept`, the same in every row."""
        found: Tensor = model(input_ids=self.ids, attention_mask=self.seen, use_cache=False, logits_to_keep=kept).logits
        return found


def _logits(model: Any, asked: _Asked) -> tuple[Tensor, Tensor]:
    logits = asked.through(model, asked.columns)  # (R, C, V)
    return logits[asked.picked[:, asked.columns]], asked.targets


def _last_states(model: Any, asked: _Asked) -> Tensor:
    """(N, H): what the head would be given."""
    kept: list[Tensor] = []
    handle = model.get_decoder().register_forward_hook(lambda module, given, found: kept.append(found[0]))
    try:
        asked.through(model, 1)
    finally:
        handle.remove()
    return kept[0][asked.picked]


def _head(model: Any, states: Tensor) -> Tensor:
    """From last states (n, H) to logits (n, V).

    A hack: the model is run on one token, and the states are put in the place of what its body finds. What lies between
    head and logits, like a soft cap, is in each architecture's own `forward` and nowhere else.
    """

    def replaced(module: Any, given: Any, found: Any) -> Any:
        found["last_hidden_state"] = states[None]
        return found

    nothing = torch.zeros(1, 1, dtype=torch.long, device=states.device)  # a token that the mask hides
    handle = model.get_decoder().register_forward_hook(replaced)
    try:
        logits: Tensor = model(input_ids=nothing, attention_mask=nothing, use_cache=False).logits
    finally:
        handle.remove()
    return logits[0]
