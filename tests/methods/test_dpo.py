"""DPO on the teacher's answer against the student's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from edgedistill.errors import StageFailed
from edgedistill.files import read_rows
from edgedistill.methods import dpo
from edgedistill.models import Model

pytestmark = pytest.mark.slow


def mean_loss(pairs: list[dict[str, str]], trained: Path, before: Path, beta: float) -> float:
    """-log sigmoid(beta (lead now - lead before)) in nats, with transformers alone."""
    import torch

    from edgedistill.ml import weights
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(before)
    ends = end_ids(before, tokenizer)
    sides = [turns(tokenizer, ends, [(p["prompt"], p[side]) for p in pairs]) for side in ("chosen", "rejected")]

    def leads(folder: Path) -> list[float]:
        model = weights.load(Model(folder, ""), torch.float32, 512).eval()

        def total(turn: Any) -> float:
            with torch.no_grad():
                found = model(input_ids=torch.tensor([turn.input_ids])).logits[0].log_softmax(-1)
            start = len(turn.prompt_ids)
            return sum(found[start + at - 1, token].item() for at, token in enumerate(turn.completion_ids))

        return [total(chosen) - total(rejected) for chosen, rejected in zip(*sides, strict=True)]

    moved = [now - then for now, then in zip(leads(trained), leads(before), strict=True)]
    return sum(math.log1p(math.exp(-beta * lead)) for lead in moved) / len(moved)


def test_it_lowers_its_loss_on_held_out_pairs(pair: Any, tmp_path: Path) -> None:
    config = dpo.Config(learning_rate=1e-4, batch=8, max_answer_tokens=24)
    out, apart = tmp_path / "out", tmp_path / "apart"
    out.mkdir()
    apart.mkdir()
    counts = dpo.train(out, pair.rows, pair.student, config, 0)
    assert counts["rows"] + counts["alike"] == 32
    dpo.train(apart, pair.held_out, pair.student, config.model_copy(update={"learning_rate": 1e-12}), 1)
    pairs = list(read_rows(apart / "pairs.jsonl"))
    assert mean_loss(pairs, out / "model", pair.student.path, 0.1) < 0.98 * math.log(2)


def test_pairs_are_the_rows_answer_and_what_the_student_says_else(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [(f"which is number {n}?", f"It is {n}.") for n in range(4)]
    config = dpo.Config(batch=2, samples=2, max_answer_tokens=8, lora_rank=2)
    counts = dpo.train(tmp_path, rows, Model(tiny_llama, ""), config, 0)
    pairs = list(read_rows(tmp_path / "pairs.jsonl"))
    assert counts["rows"] == len(pairs) == 8
    assert {(row["prompt"], row["chosen"]) for row in pairs} == set(rows)
    assert all(row["chosen"] != row["rejected"] for row in pairs)
    curve = list(read_rows(tmp_path / "curve.jsonl"))
    assert curve[0]["loss"] == pytest.approx(math.log(2), rel=0.02)
    assert {"reward_margin", "kl"} <= curve[0].keys()


def test_a_rejected_answer_that_was_cut_off_has_no_end_token(tiny_llama: Path) -> None:
    """Room for 12 tokens; what the teacher wrote is whole in any case."""
    from edgedistill.ml.turns import end_ids

    long = "one two three four five six seven eight nine ten eleven twelve"
    pairs = [("which?", long, "a"), ("which?", "a", long)]
    tokenizer, chosen, rejected = dpo._encoded(Model(tiny_llama, ""), pairs, dpo.Config(max_answer_tokens=12))
    end = end_ids(tiny_llama, tokenizer)[0]
    assert [turn.completion_ids[-1] == end for turn in chosen] == [True, True]
    assert [turn.completion_ids[-1] == end for turn in rejected] == [True, False]
    assert rejected[1].prompt_ids == chosen[1].prompt_ids


def test_a_student_that_says_it_already_leaves_no_pair(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgedistill import responses

    monkeypatch.setattr(responses, "drawn", lambda *given: [["It is 1. "]])
    with pytest.raises(StageFailed, match="nothing but the rows' own answers") as raised:
        dpo.train(tmp_path, [("which?", "It is 1.")], Model(tiny_llama, ""), dpo.Config(), 0)
    assert "temperature" in raised.value.hint
