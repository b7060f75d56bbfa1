"""What a student learned on some rows, on others: plain fine-tuning, what may follow it, and several teachers.

The embedded pair. The other methods' own tests do the same for each of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgedistill.files import read_rows
from edgedistill.methods import pad, sft, topk_kd
from edgedistill.models import Model
from edgedistill.tutors import Tutor, draw

pytestmark = pytest.mark.slow


@dataclass
class Spoken:
    """The cross-entropy of given answers, per token."""

    turns: list[Any]

    def count(self, items: Sequence[Any]) -> int:
        return sum(len(self.turns[item.row].completion_ids) for item in items)

    def loss(self, model: Any, items: Sequence[Any]) -> tuple[Any, dict[str, float]]:
        from edgedistill.ml.answer_logits import at_answers
        from edgedistill.ml.losses import own_log_probs

        return -at_answers(model, [self.turns[item.row] for item in items], own_log_probs).sum(), {}


@pytest.fixture(scope="module")
def encode(pair: Any) -> Callable[[Any], list[Any]]:
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(pair.student.path)
    return lambda rows: turns(tokenizer, end_ids(pair.student.path, tokenizer), rows)


@pytest.fixture(scope="module")
def tuned(pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The student after a little fine-tuning."""
    out = tmp_path_factory.mktemp("tuned")
    sft.train(out, pair.rows, pair.student, sft.Config(learning_rate=1e-3, batch=8), 0)
    return Model(out / "model", "tuned")


def test_fine_tuning_lowers_the_cost_of_held_out_answers(
    pair: Any, tuned: Model, encode: Callable[[Any], list[Any]], loss_of: Callable[..., float]
) -> None:
    lesson = Spoken(encode(pair.held_out))
    assert loss_of(lesson, tuned.path, 16) < 0.9 * loss_of(lesson, pair.student.path, 16)


def test_several_teachers_are_followed_on_held_out_rows(
    pair: Any, tuned: Model, encode: Callable[[Any], list[Any]], loss_of: Callable[..., float], tmp_path: Path
) -> None:
    """The embedded teacher and the tuned student, one per step, as often each: the mean divergence from both."""
    from edgedistill.engine import open_engine
    from edgedistill.ml.hint_shards import HintShards, path_of, write

    config = topk_kd.Config(learning_rate=1e-3, batch=4, epochs=2, top_k=8)
    shards: dict[str, list[HintShards]] = {"rows": [], "held_out": []}
    for number, teacher in enumerate((pair.teacher, tuned)):
        with open_engine(teacher) as engine:
            for name, own in shards.items():
                turns = encode(getattr(pair, name))
                folder = tmp_path / name / str(number)
                prompts, answers = [turn.prompt_ids for turn in turns], [turn.completion_ids for turn in turns]
                write(path_of(folder, 0), engine.likeliest(prompts, answers, 8, vocabulary=2048), 8, 2048)
                own.append(HintShards(folder))
    turns = encode(pair.rows)
    lesson = topk_kd.Cached(turns, list(range(32)), shards["rows"], config)
    from edgedistill.ml.lessons import learn

    tutors = [Tutor(pair.teacher), Tutor(tuned)]
    seed = next(seed for seed in range(20) if sum(draw(tutors, 16, seed)) == 8)
    (tmp_path / "out").mkdir()
    learn(tmp_path / "out", pair.student, lesson, list(map(len, turns)), config, seed, tutors)
    apart = topk_kd.Cached(encode(pair.held_out), list(range(16)), shards["held_out"], config)
    before, after = (loss_of(apart, path, 16, 2) for path in (pair.student.path, tmp_path / "out/model"))
    assert after < 0.9 * before


def test_ranking_goes_on_where_fine_tuning_stopped(
    pair: Any, tuned: Model, loss_of: Callable[..., float], tmp_path: Path
) -> None:
    """`distill: [{method: sft}, {method: pad}]`: the tuned student's own responses to prompts that were not learned."""
    from edgedistill.ml.ranking import Ranking

    config = pad.Config(alpha=1.0, learning_rate=5e-4, batch=8, device_batch=8, max_answer_tokens=24)
    out, apart = tmp_path / "out", tmp_path / "apart"
    out.mkdir()
    apart.mkdir()
    pad.train(out, pair.many, tuned, config, 0, [Tutor(pair.teacher)])
    # The same way to held-out groups, without learning from them.
    pad.train(apart, pair.held_out, tuned, config.model_copy(update={"learning_rate": 1e-12}), 1, [Tutor(pair.teacher)])
    scored = list(read_rows(apart / "responses.jsonl"))
    groups, _, _ = pad._groups([(row["prompt"], "yes") for row in scored], scored, tuned, config, 1)
    lesson = Ranking(groups, "ppd", config.scales)
    assert loss_of(lesson, out / "model", len(groups)) < 0.95 * loss_of(lesson, tuned.path, len(groups))
