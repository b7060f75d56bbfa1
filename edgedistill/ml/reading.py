"""How many tokens a model reads while it learns: all that go through it with a gradient, padding left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def counted(trainer: Any) -> Iterator[None]:
    """Count into `trainer.state.num_input_tokens_seen`, which checkpoints keep; prompts and end tokens included.

    What is generated or scored without a gradient is not learned from, and not counted. The decoder below the head is
    watched, so it does not matter how a loss asks for logits.
    """

    def note(module: Any, given: Any, named: dict[str, Any]) -> None:
        if module.training and torch.is_grad_enabled():
            trainer.state.num_input_tokens_seen += _tokens(given, named)

    hook = trainer.model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _tokens(given: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Of one pass: where a (B, T) mask is 1, or all of (B, T) ids."""
    mask = named.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.dim() == 2:
        return int(mask.sum())
    found = next((named[name] for name in ("input_ids", "inputs_embeds") if named.get(name) is not None), None)
    shape = (given[0] if found is None else found).shape
    return int(shape[0] * shape[1])
