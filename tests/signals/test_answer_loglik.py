"""The likelihood of answers as a score: by hand, and with the real engine against a plain forward pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from edgedistill import task
from edgedistill.artifacts import Draft, Score
from edgedistill.engine import open_engine
from edgedistill.files import write_rows
from edgedistill.models import Model
from edgedistill.signals.answer_loglik import Config, credit_log, score


def _task(folder: Path, answers: str) -> task.Task:
    (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: Say it.\nlicence: x\n")
    for part in ("seeds", "validation", "test"):
        rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": answer} for n, answer in enumerate(answers)]
        write_rows(folder / f"{part}.jsonl", rows)
    return task.load(folder)


def test_an_open_answer_counts_its_mean_token_by_hand() -> None:
    """Tokens of probability 1/2 and 1/8: the geometric mean is 1/4."""
    assert math.exp(credit_log([[math.log(0.5), math.log(0.125)]])) == pytest.approx(0.25)


def test_a_closed_answer_counts_its_share_among_the_options_by_hand() -> None:
    """Whole texts of probability 0.06 = 0.3 x 0.2, and 0.1, 0.04: 0.06 / 0.2 = 0.3. Tiny ones do not underflow."""
    texts = [[math.log(0.3), math.log(0.2)], [math.log(0.1)], [math.log(0.04)]]
    assert math.exp(credit_log(texts)) == pytest.approx(0.3)
    assert math.exp(credit_log([[-2000.0], [-2000.0 + math.log(3)]])) == pytest.approx(0.25)


def test_values_keep_every_item_and_give_the_standard_error_by_hand() -> None:
    """Credits 0.2 and 0.6: mean 0.4, variance 0.08, standard error 0.2. Hits 1, 0, 1, 1: 0.25."""
    found = Score("d", "t", 0.4, values=[math.log(0.2), None, math.log(0.6)])
    assert found.credits == [pytest.approx(0.2), None, pytest.approx(0.6)]
    assert found.standard_error == pytest.approx(0.2)
    assert Score("d", "t", 0.75, "10-11").credits == [1.0, 0.0, None, 1.0, 1.0]
    assert Score("d", "t", 0.75, "1011").standard_error == pytest.approx(0.25)
    assert Score("d", "t", 1.0, "1").standard_error == math.inf


@pytest.mark.parametrize("answers", ["abababab", "abcdefgh"])
def test_a_score_is_the_likelihood_of_the_answers_after_the_one_shot_prompt(
    tiny_llama: Path, tmp_path: Path, answers: str
) -> None:
    """Closed and open, each item as one whole text through transformers."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_llama)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    loaded = _task(tmp_path, answers)
    drafts = [Draft(f"t/{n}/bare", "t", f"draft {n}", "1", "bare", f"So it is {n}. <ans>{n}</ans>") for n in range(2)]

    def log_probs(draft: Draft, question: str, answer: str) -> list[float]:
        prompt = (
            "Say it. Put the final answer in <ans></ans>.\n\n"
            f"Question: {draft.question}\nAnswer: Let's think step by step. {draft.rationale}\n\n"
            f"Question: {question}\nAnswer: Let's think step by step."
        )
        head = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        before, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (head, answer))
        with torch.inference_mode():
            rows = model(torch.tensor([before + ids])).logits[0].log_softmax(1)
        return [float(rows[len(before) + place - 1, token]) for place, token in enumerate(ids)]

    done: list[int] = []
    with open_engine(Model(tiny_llama, "tiny")) as student:
        found = score(drafts, list(loaded.validation), loaded, student, Config(), done.append)
    assert sum(done) == 16
    for draft, result in zip(drafts, found, strict=True):
        credits = []
        for item in loaded.validation:
            options = {a: log_probs(draft, item.question, f"<ans>{a}</ans>") for a in sorted(set(answers))}
            if len(options) > 2:
                credits.append(math.exp(sum(options[item.answer]) / len(options[item.answer])))
            else:
                whole = {answer: math.exp(sum(tokens)) for answer, tokens in options.items()}
                credits.append(whole[item.answer] / sum(whole.values()))
        assert result.draft_id == draft.id and not result.hits
        assert result.credits == pytest.approx(credits, rel=2e-3)
        assert result.score == pytest.approx(sum(credits) / 8, rel=2e-3)


def test_its_scores_need_a_smaller_gap_than_hits() -> None:
    from edgedistill.sections import PreferConfig

    assert (Config().min_gap, PreferConfig().min_gap) == (0.02, 0.1)
    assert Config(min_gap=0.05).min_gap == 0.05
