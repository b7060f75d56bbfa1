"""Learning from a teacher on the student's own answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgedistill.files import read_rows, sha256_of
from edgedistill.methods import on_policy
from edgedistill.models import Model
from edgedistill.tutors import Staff, Tutor

pytestmark = pytest.mark.slow

ROWS = [(f"which is number {n}?", f"It is {n}.") for n in range(6)]


@pytest.mark.parametrize("divergence", ["forward", "reverse", "jsd", "sampled"])
def test_it_lowers_the_divergence_on_answers_to_held_out_prompts(
    divergence: str, pair: Any, loss_of: Callable[..., float], tmp_path: Path
) -> None:
    """Answers drawn anew by the student before and after. What `sampled` lowers is the reverse divergence."""
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    config = on_policy.Config(divergence=divergence, learning_rate=1e-3, batch=8, epochs=2, max_answer_tokens=24)
    on_policy.train(tmp_path, pair.rows, pair.student, config, 0, [Tutor(pair.teacher)])
    tokenizer = load_tokenizer(pair.student.path)
    ends = end_ids(pair.student.path, tokenizer)
    encoded = turns(tokenizer, ends, pair.held_out)
    measured = config.model_copy(update={"divergence": "reverse" if divergence == "sampled" else divergence})
    with Staff([pair.teacher], tmp_path) as staff:
        lesson = on_policy.Corrected(encoded, [{}], staff, ends, 2048, measured, 1)
        assert loss_of(lesson, tmp_path / "model", 16) < 0.95 * loss_of(lesson, pair.student.path, 16)


@pytest.mark.parametrize(
    ("options", "sampled"), [({"own_share": 0.0, "divergence": "forward", "top_k": 7}, 0.0), ({"top_k": 3}, 1.0)]
)
def test_the_share_of_own_answers(
    options: dict[str, Any], sampled: float, tiny_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    config = on_policy.Config(**options, learning_rate=1e-3, batch=3, epochs=2, max_answer_tokens=8)
    tutors = [Tutor(Model(other_llama, "t"))]
    counts = on_policy.train(tmp_path, ROWS, Model(tiny_llama, "s"), config, 0, tutors)
    curve = list(read_rows(tmp_path / "curve.jsonl"))
    assert (counts["rows"], counts["steps"]) == (6, 4)
    assert [row["sampled"] for row in curve] == [sampled] * 4
    assert not list(tmp_path.glob("answered*"))
    assert all(row["divergence"] > 0 for row in curve)


def test_a_teacher_that_is_the_student_has_nothing_to_say(tiny_llama: Path, tmp_path: Path) -> None:
    config = on_policy.Config(learning_rate=1e-9, batch=6, max_answer_tokens=8)
    on_policy.train(tmp_path, ROWS, Model(tiny_llama, "s"), config, 0, [Tutor(Model(tiny_llama, "t"))])
    (row,) = read_rows(tmp_path / "curve.jsonl")
    assert row["divergence"] == pytest.approx(0, abs=0.02)  # bfloat16 products in training


def test_the_sampled_form_is_the_students_lead_at_the_drawn_tokens_and_asks_for_no_others(
    tiny_llama: Path, other_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value is log p_S - log p_T of each token, by transformers alone; tests/ml/test_losses.py has its gradient."""
    import torch

    from edgedistill.engines.hf import HfEngine
    from edgedistill.ml import weights
    from edgedistill.ml.lessons import Item
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    asked: list[int] = []
    likeliest = HfEngine.likeliest

    def counting(engine: Any, prompts: Any, answers: Any, count: int, **options: Any) -> Any:
        asked.append(count)
        return likeliest(engine, prompts, answers, count, **options)

    monkeypatch.setattr(HfEngine, "likeliest", counting)
    tokenizer = load_tokenizer(tiny_llama)
    ends = end_ids(tiny_llama, tokenizer)
    encoded = turns(tokenizer, ends, ROWS)
    config = on_policy.Config(divergence="sampled", max_answer_tokens=20)
    student, teacher = (weights.load(Model(path, ""), torch.float32, 64).eval() for path in (tiny_llama, other_llama))
    items = [Item(row, row, 0) for row in range(6)]
    with Staff([Model(other_llama, "t")], tmp_path) as staff, torch.no_grad():
        lesson = on_policy.Corrected(encoded, [{}], staff, ends, student.config.vocab_size, config, 0)
        total, _ = lesson.loss(student, items)
        drawn = lesson._drawn(student, items)
        expected = 0.0
        for turn in drawn:
            said = [one(torch.tensor([turn.input_ids])).logits[0].log_softmax(-1) for one in (student, teacher)]
            leads = (said[0] - said[1])[len(turn.prompt_ids) - 1 : -1]
            own = [leads[place, token].item() for place, token in enumerate(turn.completion_ids)]
            expected += sum(own) / len(own)
    assert float(total) == pytest.approx(expected, rel=1e-3)
    assert asked == [1]


def test_fewer_open_teachers_give_the_same_bytes(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    """Eight steps with two teachers that take turns: with room for one, each is opened again for its turn."""
    tutors = [Tutor(Model(tiny_llama, "a")), Tutor(Model(other_llama, "b"))]
    written = []
    for name, most in (("all", None), ("one", 1)):
        (tmp_path / name).mkdir()
        config = on_policy.Config(learning_rate=1e-3, batch=3, epochs=2, max_answer_tokens=4, open_teachers=most)
        on_policy.train(tmp_path / name, ROWS, Model(tiny_llama, "s"), config, 0, tutors)
        written.append(sha256_of(tmp_path / name / "model/model.safetensors"))
    assert written[0] == written[1]


def test_two_runs_are_byte_identical(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    config = on_policy.Config(own_share=0.5, learning_rate=1e-3, batch=2, max_answer_tokens=8, top_k=4)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        on_policy.train(tmp_path / name, ROWS, Model(tiny_llama, "s"), config, 0, [Tutor(Model(other_llama, "t"))])
    first, second = (sha256_of(tmp_path / name / "model/model.safetensors") for name in ("first", "second"))
    assert first == second


def test_answers_end_with_their_end_token_and_depend_on_the_seed_alone(tiny_llama: Path) -> None:
    import torch

    from edgedistill.ml import rollout, weights

    model = weights.load(Model(tiny_llama, ""), torch.float32, 64).train()
    prompts, how = [[5, 6, 7], [8, 9]], {"max_tokens": 40, "temperature": 1.0, "top_p": 1.0}
    # Many tokens end an answer here, so that some do.
    ends = tuple(range(100, 140))
    before = torch.random.get_rng_state()
    first, again, other = (rollout.answers(model, prompts, ends, **how, seed=seed) for seed in (1, 1, 2))
    assert torch.random.get_rng_state().equal(before)
    assert model.training
    assert first == again != other
    for answer in first:
        assert not set(answer[:-1]) & set(ends)
        assert answer[-1] in ends or len(answer) == 40


def test_sampled_goes_with_the_students_own_answers_only() -> None:
    with pytest.raises(ValidationError, match="own_share"):
        on_policy.Config(divergence="sampled", own_share=0.5)
