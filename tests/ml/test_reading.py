"""Tokens that a student reads in training, against the sums of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.files import read_rows
from edgedistill.methods import dpo, on_policy, pad, sft
from edgedistill.models import Model
from edgedistill.tutors import Tutor

pytestmark = pytest.mark.slow

ROWS = [(f"which is number {n}?", f"It is {n}." * (1 + n % 3)) for n in range(6)]


def lengths(student: Path, rows: list[tuple[str, str]]) -> int:
    """Prompts with answers and end tokens."""
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(student)
    return sum(map(len, turns(tokenizer, end_ids(student, tokenizer), rows)))


def cut_off(student: Path, rows: list[tuple[str, str]]) -> int:
    """Prompts with answers that have no end token."""
    from edgedistill.ml.turns import load_tokenizer

    tokenizer = load_tokenizer(student)
    prompts = lengths(student, [(prompt, "") for prompt, _ in rows]) - len(rows)
    return prompts + sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for _, text in rows)


@pytest.mark.parametrize("options", [{}, {"device_batch": 1}, {"lora_rank": 2}])
def test_rows_are_read_once_a_pass_without_padding(options: dict[str, Any], tiny_llama: Path, tmp_path: Path) -> None:
    counts = sft.train(tmp_path, ROWS, Model(tiny_llama, ""), sft.Config(batch=3, epochs=2, **options), 0)
    assert counts["tokens"] == 2 * lengths(tiny_llama, ROWS)


def test_rows_that_are_too_long_are_not_read(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [*ROWS, ("which?", "It is. " * 200)]
    counts = sft.train(tmp_path, rows, Model(tiny_llama, ""), sft.Config(batch=3, max_tokens=200), 0)
    assert (counts["too_long"], counts["tokens"]) == (1, lengths(tiny_llama, ROWS))


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_both_answers_of_a_pair_are_read_and_what_the_reference_reads_does_not_count(
    lora_rank: int | None, tiny_llama: Path, tmp_path: Path
) -> None:
    """The untrained student fills its room, so its answers have no end token."""
    config = dpo.Config(batch=2, max_answer_tokens=8, lora_rank=lora_rank)
    counts = dpo.train(tmp_path, ROWS, Model(tiny_llama, ""), config, 0)
    pairs = list(read_rows(tmp_path / "pairs.jsonl"))
    chosen = lengths(tiny_llama, [(row["prompt"], row["chosen"]) for row in pairs])
    rejected = [(row["prompt"], row["rejected"]) for row in pairs]
    assert counts["rows"] == 6
    assert chosen + cut_off(tiny_llama, rejected) <= counts["tokens"] <= chosen + lengths(tiny_llama, rejected)


@pytest.mark.parametrize("sft_weight", [0.0, 1.0])
def test_every_response_is_read_and_the_rows_answer_where_it_has_a_weight(
    sft_weight: float, tiny_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    config = pad.Config(
        learning_rate=1e-3, batch=3, device_batch=3, max_answer_tokens=12, alpha=1.0, sft_weight=sft_weight
    )
    counts = pad.train(tmp_path, ROWS, Model(tiny_llama, ""), config, 0, [Tutor(Model(other_llama, ""))])
    texts = [(row["prompt"], text) for row in read_rows(tmp_path / "responses.jsonl") for text in row["responses"]]
    taught = lengths(tiny_llama, ROWS) if sft_weight else 0
    assert counts["rows"] == 6
    assert cut_off(tiny_llama, texts) <= counts["tokens"] - taught <= lengths(tiny_llama, texts)


def test_on_policy_reads_its_own_answers_and_not_the_rows(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    """Rows a hundred times as long as the room of the student's answers, which it fills up to 8 tokens each."""
    rows = [(prompt, "It is. " * 40) for prompt, _ in ROWS]
    config = on_policy.Config(batch=3, max_answer_tokens=8, max_tokens=1024)
    counts = on_policy.train(tmp_path, rows, Model(tiny_llama, ""), config, 0, [Tutor(Model(other_llama, ""))])
    prompts = lengths(tiny_llama, [(prompt, "") for prompt, _ in rows]) - 6
    assert prompts + 6 <= counts["tokens"] <= prompts + 6 * 8


def test_a_training_that_was_killed_counts_all_of_it(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgedistill.ml import training

    config = sft.Config(batch=1, checkpoint_steps=2)
    whole = sft.train(tmp_path / "whole", ROWS, Model(tiny_llama, ""), config, 0)["tokens"]
    end, steps = training._Watch.on_step_end, []

    def dying(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        steps.append(state.global_step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        end(self, args, state, control, **rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training._Watch, "on_step_end", dying)
        sft.train(tmp_path / "killed", ROWS, Model(tiny_llama, ""), config, 0)
    assert list((tmp_path / "killed/checkpoints").iterdir())
    assert sft.train(tmp_path / "killed", ROWS, Model(tiny_llama, ""), config, 0)["tokens"] == whole
