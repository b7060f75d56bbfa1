"""The head over some tokens at a time: the same losses and gradients as all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.models import Model

pytestmark = pytest.mark.slow

LENGTHS = ((3, 4), (6, 1), (1, 9))
"""Tokens of prompt and answer of three rows."""


def capped() -> Any:
    """A model whose logits are not its head's alone: Gemma 2 bends them to at most 2."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=2.0, initializer_range=0.5,
        attn_implementation="eager",
    )  # fmt: skip
    return Gemma2ForCausalLM(config)


def adapted(folder: Path) -> Any:
    from peft import get_peft_model

    from edgedistill.ml import weights

    return get_peft_model(weights.load(Model(folder, ""), weights.LEARNING, 64), weights.adapter(2))


@pytest.mark.parametrize("kind", ["capped", "adapted"])
@pytest.mark.parametrize("tile", [1, 5])
def test_tiles_give_the_same_losses_and_gradients(
    kind: str, tile: int, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from edgedistill.ml import answer_logits
    from edgedistill.ml.losses import own_log_probs
    from edgedistill.ml.turns import Turn

    model = capped() if kind == "capped" else adapted(tiny_llama)
    vocabulary = model.config.vocab_size
    turns = [Turn(list(range(5, 5 + asked)), list(range(20, 20 + own))) for asked, own in LENGTHS]
    weight = torch.randn(sum(own for _, own in LENGTHS))
    widest = 0

    def judge(logits: Any, targets: Any, weight: Any) -> Any:
        nonlocal widest
        widest = max(widest, len(logits))
        return own_log_probs(logits, targets) * weight

    found = []
    for limit in (10**9, tile * vocabulary):
        monkeypatch.setattr(answer_logits, "_LOGITS_LIMIT", limit)
        model.zero_grad()
        widest = 0
        values = answer_logits.at_answers(model, turns, judge, weight)
        values.sum().backward()
        learning = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
        found.append((values.detach(), learning, widest))
    (whole, gradients, at_once), (tiled, others, most) = found
    assert (at_once, most) == (14, tile)
    assert torch.allclose(whole, tiled, atol=1e-5)
    assert gradients.keys() == others.keys() and gradients
    assert all(torch.allclose(gradients[name], others[name], atol=1e-5) for name in gradients)
    assert max(float(one.abs().max()) for one in gradients.values()) > 1e-3


def test_logits_are_those_of_plain_forward_passes_row_by_row(tiny_llama: Path) -> None:
    import torch

    from edgedistill.ml import weights
    from edgedistill.ml.answer_logits import answer_logits
    from edgedistill.ml.turns import Turn

    model = weights.load(Model(tiny_llama, ""), torch.float32, 64).eval()
    turns = [Turn(list(range(5, 5 + asked)), list(range(20, 20 + own))) for asked, own in LENGTHS]
    with torch.no_grad():
        logits, targets = answer_logits(model, turns)
        alone = [model(torch.tensor([turn.input_ids])).logits[0, len(turn.prompt_ids) - 1 : -1] for turn in turns]
    assert targets.tolist() == [token for turn in turns for token in turn.completion_ids]
    assert torch.allclose(logits, torch.cat(alone), atol=1e-4)
