"""DPO's loss with a lead, softened labels and ties: by hand, against TRL's own, and by finite differences."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Pair

pytestmark = pytest.mark.slow


def slow_loss(change: float, lead: float, softness: float, is_equal: bool, beta: float, tie_weight: float) -> float:
    """One pair, without torch."""
    if is_equal:
        return tie_weight * (beta * change) ** 2
    ahead = 1 / (1 + math.exp(-(beta * change - lead)))
    return -(1 - softness) * math.log(ahead) - softness * math.log(1 - ahead)


def test_by_hand() -> None:
    """beta d = 0.2. Plain: ln(1 + e^-0.2) = 0.5981. Lead 0.2: ln 2. Soft: 0.9 x 0.5981 + 0.1 x 0.7981. Tie: 0.12."""
    import torch

    from edgedistill.ml.pair_loss import pair_loss

    terms = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.1, 0.0], [0.7, 0.4, 1.0]])
    found = [pair_loss(torch.tensor([2.0]), row[None], 0.1, 3.0).item() for row in terms]
    assert found == pytest.approx([0.598139, math.log(2), 0.618139, 0.12], abs=1e-6)
    assert pair_loss(torch.full((4,), 2.0), terms, 0.1, 3.0).item() == pytest.approx(sum(found) / 4)


def test_agrees_with_a_slow_version_and_its_slopes() -> None:
    import torch

    from edgedistill.ml.pair_loss import pair_loss

    torch.manual_seed(1)
    change = (20 * torch.randn(7, dtype=torch.float64)).requires_grad_()
    terms = torch.stack([torch.rand(7), torch.rand(7) / 2, (torch.arange(7) % 3 == 0).float()], dim=1)
    rows = [(change[n].item(), terms[n, 0].item(), terms[n, 1].item(), bool(terms[n, 2])) for n in range(7)]
    loss = pair_loss(change, terms, 0.3, 2.0)
    assert loss.item() == pytest.approx(sum(slow_loss(*row, 0.3, 2.0) for row in rows) / 7, rel=1e-5)
    (slope,) = torch.autograd.grad(loss, change)
    for n, (d, *rest) in enumerate(rows):
        by_difference = (slow_loss(d + 1e-4, *rest, 0.3, 2.0) - slow_loss(d - 1e-4, *rest, 0.3, 2.0)) / 2e-4 / 7
        assert slope[n].item() == pytest.approx(by_difference, abs=1e-5)


def test_a_tie_is_settled_where_both_rewards_are_the_same() -> None:
    import torch

    from edgedistill.ml.pair_loss import pair_loss

    change = torch.zeros(1, requires_grad=True)
    loss = pair_loss(change, torch.tensor([[0.0, 0.0, 1.0]]), 0.1, 5.0)
    (slope,) = torch.autograd.grad(loss, change)
    assert (loss.item(), slope.item()) == (0.0, 0.0)


def test_what_a_pair_asks_for() -> None:
    from edgedistill.ml.pair_loss import Terms, terms_of

    def pair(**others: Any) -> Pair:
        return Pair("t", "question", "p", "c", "r", **{"margin": 0.4, "doubt": 0.1, **others})

    kinds = [pair(strength="margin"), pair(strength="smooth"), pair(strength="margin", label="equal"), pair()]
    assert terms_of(kinds, 2.0) == [Terms(lead=0.8), Terms(softness=0.1), Terms(is_equal=True), Terms()]
    assert terms_of([pair(), pair()], 2.0) is None, "TRL's own loss does for plain pairs"


@pytest.mark.parametrize("precomputed", [True, False])
def test_the_trainer_gives_trls_loss_for_plain_pairs_and_ours_for_others(
    tiny_qwen2: Path, tmp_path: Path, precomputed: bool
) -> None:
    """Two steps over the same two pairs of unequal lengths. With terms of zero both losses and weights are TRL's."""
    from edgedistill.ml.pair_loss import Terms

    plain, same, ties = (
        train(tiny_qwen2, tmp_path / str(n), precomputed, terms)
        for n, terms in enumerate((None, [Terms(), Terms()], [Terms(is_equal=True), Terms(lead=0.5)]))
    )
    assert same[0] == pytest.approx(plain[0], abs=1e-5)
    assert same[1] == pytest.approx(plain[1], abs=1e-6)
    # Before the first step both rewards are 0: a tie costs nothing, and a lead of 0.5 costs ln(1 + e^0.5).
    assert ties[0][0] == pytest.approx(math.log(1 + math.exp(0.5)) / 2, abs=1e-4)
    assert ties[1] != pytest.approx(plain[1], abs=1e-6)


def train(base: Path, out: Path, precomputed: bool, terms: Any) -> tuple[list[float], list[float]]:
    """Losses of two steps, and some weights after them."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig

    from edgedistill.ml.preference import TokenizedDPOTrainer, pair_rows
    from edgedistill.ml.turns import Turn, load_tokenizer

    torch.manual_seed(0)
    given = DPOConfig(
        output_dir=str(out), max_steps=2, per_device_train_batch_size=2, learning_rate=1e-2, logging_steps=1,
        lr_scheduler_type="constant", precompute_ref_log_probs=precomputed, report_to="none", use_cpu=True, bf16=False,
        max_length=None, save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    chosen, rejected = (
        [Turn([5, 6, 7], [20, 21, 22, 1]), Turn([5], [9, 1])],
        [Turn([5, 6, 7], [30, 1]), Turn([5], [8, 8, 1])],
    )
    trainer = TokenizedDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=given,
        train_dataset=pair_rows(chosen, rejected, terms),
        processing_class=load_tokenizer(base),
        peft_config=None if precomputed else LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"),
        tie_weight=3.0,
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    moved = next(p for p in trainer.model.parameters() if p.requires_grad)
    return losses, moved.detach().flatten()[:50].tolist()
