"""Answers of a model that is being trained, as token ids, drawn with random numbers that depend on the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig


def answers(
    model: Any,
    prompts: Sequence[Sequence[int]],
    ends: Sequence[int],
    *,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> list[list[int]]:
    """One answer per prompt, with the token that ends it where it came to an end within `max_tokens`.

    The model is left in the state (training or not) that it was in; torch's own random numbers are not touched.
    """
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), ends[0], dtype=torch.long)
    seen = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        seen[row, longest - len(prompt) :] = 1
    how = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_p=top_p,
        top_k=0,
        max_new_tokens=max_tokens,
        eos_token_id=list(ends),
        pad_token_id=ends[0],
    )
    was_training = model.training
    model.eval()
    device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        found = model.generate(
            input_ids=ids.to(device), attention_mask=seen.to(device), generation_config=how, use_cache=True
        )
    model.train(was_training)
    return [_ended(row, ends) for row in found[:, longest:].tolist()]


def _ended(row: list[int], ends: Sequence[int]) -> list[int]:
    """Up to and with the first token that ends an answer; behind it is padding."""
    stop = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
    return row[: stop + 1]
