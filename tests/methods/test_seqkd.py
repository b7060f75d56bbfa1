"""Teachers' answers as training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.errors import StageFailed
from edgedistill.files import read_rows
from edgedistill.methods import seqkd
from edgedistill.models import Model
from edgedistill.tutors import Tutor

pytestmark = pytest.mark.slow


def test_it_lowers_the_cost_of_a_teachers_answers_to_held_out_prompts(pair: Any, tmp_path: Path) -> None:
    import torch

    from edgedistill.engine import open_engine, user
    from edgedistill.ml import weights
    from edgedistill.ml.answer_logits import answer_logits
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    config = seqkd.Config(temperature=0.0, learning_rate=1e-3, batch=8, epochs=2, max_answer_tokens=96)
    counts = seqkd.train(tmp_path, pair.rows, pair.student, config, 0, [Tutor(pair.teacher)])
    assert counts["rows"] + counts["unusable"] == 32
    with open_engine(pair.teacher) as engine:
        asked = [prompt for prompt, _ in pair.held_out]
        said = engine.generate([user(prompt) for prompt in asked], max_tokens=96)
    tokenizer = load_tokenizer(pair.student.path)
    encoded = turns(tokenizer, end_ids(pair.student.path, tokenizer), list(zip(asked, said, strict=True)))

    def cost(folder: Path) -> float:
        with torch.no_grad():
            model = weights.load(Model(folder, ""), torch.float32, 512).eval()
            return float(torch.nn.functional.cross_entropy(*answer_logits(model, encoded)))

    assert cost(tmp_path / "model") < 0.9 * cost(pair.student.path)


def test_each_prompt_is_answered_by_one_of_the_teachers(pair: Any, tmp_path: Path) -> None:
    """The student itself as the second teacher: at temperature 0 every answer is that of the teacher it names."""
    from edgedistill.engine import open_engine, user

    config = seqkd.Config(temperature=0.0, learning_rate=1e-5, batch=8, max_answer_tokens=96)
    tutors = [Tutor(pair.teacher, 1.0), Tutor(pair.student, 1.0)]
    seqkd.train(tmp_path, pair.rows[:16], pair.student, config, 0, tutors)
    rows = list(read_rows(tmp_path / "answers.jsonl"))
    assert [row["prompt"] for row in rows] == [prompt for prompt, _ in pair.rows[:16]]
    assert {row["tutor"] for row in rows} == {0, 1}
    for number, tutor in enumerate(tutors):
        own = [row for row in rows if row["tutor"] == number]
        with open_engine(tutor.model) as engine:
            said = engine.generate([user(row["prompt"]) for row in own], max_tokens=96)
        assert [row["answer"] for row in own] == said


def test_answers_without_a_tag_are_no_data(tiny_llama: Path, tmp_path: Path) -> None:
    config, tutor = seqkd.Config(max_answer_tokens=4), Tutor(Model(tiny_llama, ""))
    with pytest.raises(StageFailed, match="none of 2 answers") as raised:
        seqkd.train(tmp_path, [("a", "b"), ("c", "d")], Model(tiny_llama, ""), config, 0, [tutor])
    assert "max_answer_tokens" in raised.value.hint


def test_answers_may_be_checked_against_the_rows_and_drawn_again() -> None:
    """A teacher that is right the second time: without a check the first draw is kept, with one the second is, and the
    prompt to which it is never right is dropped."""
    rows = [("one", 'so <ans>{"a": 1, "b": 2}</ans>'), ("two", "so <ans>On  it</ans>"), ("three", "so <ans>3</ans>")]
    second = {"one": '<ans>{"b":2,"a":1}</ans>', "two": "<ans>on it</ans>", "three": "<ans>4</ans>"}
    asked: list[list[str]] = []

    class Teacher:
        def generate(self, conversations: Any, **options: Any) -> list[str]:
            prompts = [messages[0]["content"] for messages in conversations]
            asked.append(prompts)
            return ["<ans>wrong</ans>" if len(asked) == 1 else second[prompt] for prompt in prompts]

    def drawn(**options: Any) -> list[bool]:
        asked.clear()
        config = seqkd.Config(**options)
        texts = seqkd._drawn(Teacher(), rows, config, 0)  # type: ignore[arg-type]
        return [seqkd._is_usable(text, own, config) for text, (_, own) in zip(texts, rows, strict=True)]

    assert drawn(attempts=3) == [True, True, True] and asked == [["one", "two", "three"]]
    assert drawn(attempts=3, check_answers=True) == [True, True, False]
    assert asked == [["one", "two", "three"], ["one", "two", "three"], ["three"]]
    assert drawn(check_answers=True) == [False, False, False]
