"""How far a model moved, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_distance_of_two_tokens_by_hand() -> None:
    """Twice as likely: 2 - 1 - ln 2 = 0.3069. Half as likely: 1/2 - 1 + ln 2 = 0.1931. Sum 0.5."""
    import torch

    from edgedistill.ml.preference import distance

    before = torch.tensor([0.4, 0.4]).log()
    now = torch.tensor([0.8, 0.2]).log()
    assert distance(now, before).item() == pytest.approx(0.5, abs=1e-6)
    assert distance(before, before).item() == 0


def test_distance_estimates_kl_from_the_earlier_state_to_this_one() -> None:
    """Its mean over the earlier distribution is exactly KL(before || now): 0.5 ln(0.5/0.7) + 0.3 ln(0.3/0.2) + ..."""
    import torch

    from edgedistill.ml.preference import distance

    before, now = [0.5, 0.3, 0.2], [0.7, 0.2, 0.1]
    each = [
        distance(torch.tensor([math.log(q)]), torch.tensor([math.log(p)])).item()
        for p, q in zip(before, now, strict=True)
    ]
    mean = sum(p * value for p, value in zip(before, each, strict=True))
    assert mean == pytest.approx(sum(p * math.log(p / q) for p, q in zip(before, now, strict=True)), abs=1e-6)


def test_the_log_has_the_distance_per_answer_token(tiny_qwen2: Path, tmp_path: Path) -> None:
    """Step two of one pair, against log-probabilities that torch alone finds before and after step one."""
    import torch
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import DPOConfig

    from edgedistill.ml.preference import TokenizedDPOTrainer, pair_rows
    from edgedistill.ml.turns import Turn, load_tokenizer

    prompt, better, worse = [5, 6, 7], [20, 21, 22, 1], [30, 31, 1]
    model = AutoModelForCausalLM.from_pretrained(tiny_qwen2, dtype=torch.float32)

    def log_probs(answer: list[int]) -> torch.Tensor:
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        return torch.stack([scores[len(prompt) + at - 1, token] for at, token in enumerate(answer)])

    before = torch.cat([log_probs(better), log_probs(worse)])
    after: list[torch.Tensor] = []

    class AfterStepOne(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == 1:
                after.append(torch.cat([log_probs(better), log_probs(worse)]))

    given = DPOConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=1, learning_rate=1e-2, logging_steps=1,
        lr_scheduler_type="constant", precompute_ref_log_probs=True, report_to="none", use_cpu=True, bf16=False,
        max_length=None, save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    rows = pair_rows([Turn(prompt, better)] * 2, [Turn(prompt, worse)] * 2)
    tokenizer = load_tokenizer(tiny_qwen2)
    trainer = TokenizedDPOTrainer(
        model=model, args=given, train_dataset=rows, processing_class=tokenizer, callbacks=[AfterStepOne()]
    )
    trainer.train()
    rise = after[0] - before
    expected = (rise.exp() - 1 - rise).mean().item()
    logged = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert logged[0] == pytest.approx(0, abs=1e-7)
    assert logged[1] == pytest.approx(expected, rel=1e-3)


def test_what_a_spread_model_gives_comes_to_the_inputs_device() -> None:
    """`meta` stands in for another GPU; fields that are not computed stay away, and gradients flow on."""
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    from edgedistill.ml.preference import brought_to

    given = torch.ones(2, 3, requires_grad=True)
    output = FusedCausalLMOutput(loss=given.sum(), log_probs=given * 2, entropy=torch.zeros(2, 3))
    moved = brought_to(torch.device("meta"), output)
    assert isinstance(moved, FusedCausalLMOutput)
    assert {moved.loss.device.type, moved.log_probs.device.type, moved.entropy.device.type} == {"meta"}
    assert moved.is_top1 is None and moved.log_probs.requires_grad
    assert brought_to(torch.device("cpu"), output) is output
