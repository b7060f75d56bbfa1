"""Preference-aligned distillation: what is ranked, and that the student learns to rank like the teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgedistill.errors import StageFailed
from edgedistill.files import read_rows, sha256_of
from edgedistill.methods import pad
from edgedistill.models import Model
from edgedistill.tutors import Tutor

pytestmark = pytest.mark.slow

ROWS = [(f"which is number {n}?", f"It is {n}.") for n in range(6)]
QUICK: dict[str, Any] = {"learning_rate": 1e-3, "batch": 3, "device_batch": 3, "max_answer_tokens": 12, "alpha": 1.0}


@pytest.mark.parametrize("loss", ["ppd", "vpd"])
def test_it_lowers_its_loss_on_held_out_prompts(
    loss: str, pair: Any, loss_of: Callable[..., float], tmp_path: Path
) -> None:
    """Responses of the untrained student to prompts that were not learned, scored by the teacher."""
    from edgedistill.ml.ranking import Ranking

    config = pad.Config(loss=loss, alpha=1.0, learning_rate=5e-4, batch=8, device_batch=8, max_answer_tokens=24)
    tutors = [Tutor(pair.teacher)]
    out, apart = tmp_path / "out", tmp_path / "apart"
    out.mkdir()
    apart.mkdir()
    counts = pad.train(out, pair.many, pair.student, config, 0, tutors)
    assert counts["rows"] + counts["too_alike"] == 128
    # The same way to held-out groups, without learning from them.
    pad.train(apart, pair.held_out, pair.student, config.model_copy(update={"learning_rate": 1e-12}), 1, tutors)
    scored = list(read_rows(apart / "responses.jsonl"))
    kept = [(row["prompt"], "yes") for row in scored]
    groups, _, _ = pad._groups(kept, scored, pair.student, config, 1)
    lesson = Ranking(groups, loss, config.scales)
    assert loss_of(lesson, out / "model", len(groups)) < 0.95 * loss_of(lesson, pair.student.path, len(groups))


def test_the_rewards_are_mean_log_probs_of_the_response_alone(tiny_llama: Path) -> None:
    """Against transformers, response by response without padding; neither prompt nor padding leaks in."""
    import torch

    from edgedistill.ml import weights
    from edgedistill.ml.ranking import rewards
    from edgedistill.ml.turns import Turn

    model = weights.load(Model(tiny_llama, ""), torch.float32, 64).eval()
    turns = [Turn([5, 6, 7], [8, 9, 10, 11]), Turn([5, 6, 7, 12, 13, 14], [15]), Turn([4], [3, 2])]
    with torch.no_grad():
        found = rewards(model, turns).tolist()
        for turn, reward in zip(turns, found, strict=True):
            logits = model(input_ids=torch.tensor([turn.input_ids])).logits[0].log_softmax(-1)
            start = len(turn.prompt_ids)
            own = [logits[start + at - 1, token].item() for at, token in enumerate(turn.completion_ids)]
            assert reward == pytest.approx(sum(own) / len(own), rel=1e-4)


def test_other_responses_and_longer_ones_beside_them_change_no_gradient(tiny_llama: Path) -> None:
    import torch

    from edgedistill.ml import weights
    from edgedistill.ml.ranking import rewards
    from edgedistill.ml.turns import Turn

    model = weights.load(Model(tiny_llama, ""), torch.float32, 64)
    short, long = Turn([5, 6], [7, 8]), Turn([5, 6], list(range(9, 60)))
    gradients = []
    for turns in ([short], [short, long]):
        model.zero_grad()
        rewards(model, turns)[0].backward()
        gradients.append(model.lm_head.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.5}, {"loss": "ppd_released"}, {"sft_weight": 1.0}])
def test_every_form_trains_and_tells_how_decided_the_teacher_is(
    options: dict[str, Any], tiny_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    config = pad.Config(**{**QUICK, **options})
    counts = pad.train(tmp_path, ROWS, Model(tiny_llama, "s"), config, 0, [Tutor(Model(other_llama, "t"))])
    assert (counts["rows"], counts["steps"]) == (6, 2)
    assert 0 <= counts["teacher_entropy"] <= 3.179  # ln 4!
    assert ("neither" in counts) == (config.alpha < 1)
    rows, curve = list(read_rows(tmp_path / "responses.jsonl")), list(read_rows(tmp_path / "curve.jsonl"))
    assert [len(set(row["responses"])) for row in rows] == [4] * 6
    assert len(curve) == 2
    assert all(any(row["agreement"] == pytest.approx(part / 3) for part in range(4)) for row in curve)
    assert all(0 <= row["teacher_entropy"] <= 3.179 for row in curve)


def test_two_teachers_each_score_their_prompts_and_runs_are_byte_identical(
    tiny_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    tutors = [Tutor(Model(tiny_llama, "a")), Tutor(Model(other_llama, "b"))]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        pad.train(tmp_path / name, ROWS, Model(tiny_llama, "s"), pad.Config(**QUICK), 3, tutors)
    first, second = tmp_path / "first", tmp_path / "second"
    assert {row["tutor"] for row in read_rows(first / "responses.jsonl")} == {0, 1}
    for file in ("model/model.safetensors", "responses.jsonl", "curve.jsonl"):
        assert sha256_of(first / file) == sha256_of(second / file)


def test_more_responses_are_ranked_in_groups_that_change(tiny_llama: Path) -> None:
    """Six responses in groups of three, two epochs: every response once an epoch, in other company."""
    config = pad.Config(**QUICK, samples=6, responses=6, group=3, epochs=2)
    texts = [f"number {n}" for n in range(6)]
    scored = [{"responses": texts, "scores": [float(n) for n in range(6)]}] * 4
    groups, prompts, too_long = pad._groups(ROWS[:4], scored, Model(tiny_llama, ""), config, 0)
    assert (len(groups), prompts, too_long) == (16, 4, 0)
    assert sorted(score for group in groups[:2] for score in group.scores) == [0, 1, 2, 3, 4, 5]
    assert len({frozenset(group.scores) for group in groups}) > 4


def test_a_response_that_came_to_its_end_has_the_end_token_and_one_that_was_cut_off_has_none(tiny_llama: Path) -> None:
    """Room for 12 tokens: a short response was ended by the student, one that fills the room by it."""
    from edgedistill.ml.turns import end_ids, load_tokenizer

    tokenizer = load_tokenizer(tiny_llama)
    end = end_ids(tiny_llama, tokenizer)[0]
    texts = ["a", "b c", "one two three four five six seven eight nine ten eleven twelve", "d"]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    assert lengths[2] > 11 > lengths[1], "the tokenizer makes of it what the test means"
    scored = [{"responses": texts, "scores": [0.0, 1.0, 2.0, 3.0]}]
    (group,), _, _ = pad._groups(ROWS[:1], scored, Model(tiny_llama, ""), pad.Config(**QUICK), 0)
    assert [answer.completion_ids[-1] == end for answer in group.answers] == [True, True, False, True]
    assert [len(answer.completion_ids) for answer in group.answers] == [n + (n < 11) for n in lengths]


def test_a_student_that_always_says_the_same_is_told_what_to_do(tiny_llama: Path, tmp_path: Path) -> None:
    config = pad.Config(**QUICK, temperature=1e-6)
    with pytest.raises(StageFailed, match="4 different responses") as raised:
        pad.train(tmp_path, ROWS, Model(tiny_llama, "s"), config, 0, [Tutor(Model(tiny_llama, "t"))])
    assert "temperature" in raised.value.hint


def test_settings_of_the_released_recipe_are_the_defaults() -> None:
    config = pad.Config()
    assert (config.samples, config.responses, config.temperature, config.top_p) == (5, 4, 1.0, 0.95)
    assert (config.beta, config.scales, config.learning_rate, config.batch) == (10.0, (10.0, 10.0), 8e-7, 128)
    assert (config.warmup, config.decay, config.epochs, config.sft_weight) == (0.1, "cosine", 1, 0.0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"samples": 3}, "fewer than responses"),
        ({"samples": 8, "responses": 8}, "set `group`"),
        ({"samples": 8, "responses": 8, "group": 3}, "not a multiple"),
        ({"own_weight": 0}, "names no other"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        pad.Config(**options)
