"""Influence: one step on a draft against torch's own AdamW, and what the score says of drafts whose worth is known."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from edgedistill import task
from edgedistill.artifacts import Draft
from edgedistill.engine import open_engine
from edgedistill.errors import UsageError
from edgedistill.files import write_rows
from edgedistill.models import Model
from edgedistill.signals.influence import Config, credit_log, rise_of, score

RATE = 1e-3


def a_task(folder: Path) -> task.Task:
    (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: Say it.\nlicence: x\n")
    for part in ("seeds", "validation", "test"):
        rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": "light"} for n in range(4)]
        write_rows(folder / f"{part}.jsonl", rows)
    return task.load(folder)


def draft(name: str, rationale: str) -> Draft:
    return Draft(f"t/{name}/bare", "t", f"draft {name}", "1", "bare", rationale)


def test_credits_by_hand() -> None:
    """Nothing changed: 1/2. Log-odds of ln 3: 3/4 and 1/4. Far out it neither overflows nor loses the sign."""
    rises = [0.0, 10 * math.log(3), -10 * math.log(3)]
    assert [math.exp(credit_log(rise)) for rise in rises] == pytest.approx([0.5, 0.75, 0.25])
    assert [rise_of(math.exp(credit_log(rise))) for rise in rises] == pytest.approx(rises)
    assert credit_log(8000.0) == 0.0 and credit_log(-8000.0) == -800.0
    assert math.exp(credit_log(1e-3)) == pytest.approx(0.5 + 1e-3 / 40, abs=1e-12)


@pytest.mark.parametrize("size", [1e-4, 1.0])
def test_the_mean_credit_ranks_by_the_mean_fall_of_the_loss(size: float) -> None:
    """One item gains 1.5 and two lose 0.4, mean 0.233; three gain 0.2. A credit of sigmoid(d) would turn the order."""

    def mean(rises: list[float]) -> float:
        return fmean(math.exp(credit_log(size * rise)) for rise in rises)

    assert mean([1.5, -0.4, -0.4]) > mean([0.2, 0.2, 0.2]) > mean([0.0, 0.0, 0.0])
    assert 40 * (mean([1.5, -0.4, -0.4]) - 0.5) == pytest.approx(size * 0.7 / 3, rel=0.01)


@pytest.mark.slow
def test_the_step_is_that_of_adamw_whose_second_moments_have_seen_the_seeds(tiny_llama: Path, tmp_path: Path) -> None:
    """torch's AdamW without momentum and decay, its state set by hand, on the ids that the chat template gives."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = a_task(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_llama)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    weights = list(model.parameters())

    def prompt(question: str) -> str:
        asked = (
            f"Say it. Put the final answer in <ans></ans>.\n\nQuestion: {question}\nAnswer: Let's think step by step."
        )
        return f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"

    def loss(question: str, answer: str) -> Any:
        before, own = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt(question), answer))
        scores = model(torch.tensor([before + own])).logits[0].log_softmax(1)
        return -fmean_of([scores[len(before) + at - 1, token] for at, token in enumerate(own)])

    def fmean_of(tokens: list[Any]) -> Any:
        return torch.stack(tokens).mean()

    def exam() -> list[float]:
        with torch.no_grad():
            return [loss(item.question, f"<ans>{item.answer}</ans>").item() for item in loaded.validation]

    seeds = [torch.autograd.grad(loss(seed.question, "<ans>light</ans><|im_end|>"), weights) for seed in loaded.seeds]
    own = torch.autograd.grad(loss("draft a", "It is <ans>light</ans><|im_end|>"), weights)
    squares = [sum(g**2 for g in column) for column in zip(*seeds, own, strict=True)]
    unmoved = exam()
    # With betas (0, b) and step counts in which b leaves no trace, AdamW divides by the root of what is set here.
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.0, 0.5), weight_decay=0.0)
    for weight, gradient, square in zip(weights, own, squares, strict=True):
        weight.grad = gradient
        mean = square / 5
        state = {"step": torch.tensor(99.0), "exp_avg": torch.zeros_like(weight), "exp_avg_sq": 2 * mean - gradient**2}
        optimizer.state[weight] = state
    optimizer.step()
    expected = [before - after for before, after in zip(unmoved, exam(), strict=True)]

    done: list[int] = []
    with open_engine(Model(tiny_llama, "tiny")) as student:
        config = Config(learning_rate=RATE)
        (found,) = score(
            [draft("a", "It is <ans>light</ans>")], list(loaded.validation), loaded, student, config, done.append
        )
    assert sum(done) == 4 and not found.hits
    assert [rise_of(math.exp(value)) for value in found.values] == pytest.approx(expected, rel=0.02, abs=1e-5)
    assert found.score == pytest.approx(fmean(math.exp(value) for value in found.values))


@pytest.mark.slow
def test_drafts_with_the_exams_answer_help_and_leave_the_student_as_it_was(tiny_llama: Path, tmp_path: Path) -> None:
    """The right answer in the right form against words that lead away; asked again in another order, the same bytes."""
    import torch

    loaded = a_task(tmp_path)
    right, wrong = draft("a", "<ans>light</ans>"), draft("b", "no no no no no")
    exam = list(loaded.validation)
    with open_engine(Model(tiny_llama, "tiny")) as student:
        weights = {name: weight.clone() for name, weight in student.decoder.model.state_dict().items()}  # type: ignore[attr-defined]
        config = Config(learning_rate=RATE)
        first = score([right, wrong], exam, loaded, student, config, lambda n: None)
        second = score([wrong, right], exam, loaded, student, config, lambda n: None)
        after = student.decoder.model.state_dict()  # type: ignore[attr-defined]
    assert first[0].score > 0.5 and first[0].score > first[1].score
    assert second == first[::-1]
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def test_an_engine_that_cannot_train_is_refused(tmp_path: Path) -> None:
    loaded = a_task(tmp_path)
    other: Any = object()
    with pytest.raises(UsageError, match="trains the student for one step, which only engine `hf` can"):
        score([draft("a", "x")], list(loaded.validation), loaded, other, Config(), lambda n: None)
