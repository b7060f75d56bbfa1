"""Distillation from a teacher's written distributions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Hints, Tailored
from edgedistill.files import read_json, read_rows, sha256_of, write_rows
from edgedistill.methods import topk_kd
from edgedistill.models import Model
from edgedistill.stages.teach import teach
from edgedistill.task import Task, TaskInfo
from edgedistill.tutors import Tutor, draw
from edgedistill.vocabulary import Wording

pytestmark = pytest.mark.slow

HOME = Task("home", Path(), TaskInfo(kind="text", title="home", description="Home.", licence="apache-2.0"))


def written(folder: Path, rows: list[tuple[str, str]], teacher: Model, student: Model, config: topk_kd.Config) -> Hints:
    """The hints of a teacher on rows, whose prompts become those of plain questions."""
    folder.mkdir()
    fields = {"task": "home", "answer": ""}
    tailored = [{**fields, "id": str(n), "question": q, "rationale": a} for n, (q, a) in enumerate(rows)]
    write_rows(folder / "rows.jsonl", tailored)
    out = folder / "hints"
    out.mkdir()
    return teach.function(out, Tailored(folder), teacher, Wording(student), [HOME], config.hints)


def shown(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows as `teach` shows them."""
    from edgedistill.prompts import plain_prompt

    return [(plain_prompt("Home.", question), answer) for question, answer in rows]


def test_it_lowers_the_divergence_on_held_out_rows(pair: Any, loss_of: Callable[..., float], tmp_path: Path) -> None:
    from edgedistill.ml.hint_shards import HintShards
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    config = topk_kd.Config(learning_rate=1e-3, batch=8, epochs=2, top_k=8)
    hints = written(tmp_path / "learned", pair.rows, pair.teacher, pair.student, config)
    apart = written(tmp_path / "apart", pair.held_out, pair.teacher, pair.student, config)
    out = tmp_path / "out"
    out.mkdir()
    counts = topk_kd.train(out, shown(pair.rows), pair.student, config, 0, [Tutor(pair.teacher, 1.0, hints)])
    assert (counts["rows"], counts["too_long"], counts["steps"]) == (32, 0, 8)
    tokenizer = load_tokenizer(pair.student.path)
    encoded = turns(tokenizer, end_ids(pair.student.path, tokenizer), shown(pair.held_out))
    lesson = topk_kd.Cached(encoded, list(range(16)), [HintShards(apart.folder)], config)
    assert loss_of(lesson, out / "model", 16) < 0.9 * loss_of(lesson, pair.student.path, 16)
    curve = list(read_rows(out / "curve.jsonl"))
    assert curve[0]["divergence"] == pytest.approx(curve[0]["loss"])


def test_what_is_written_is_what_the_teacher_says(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    """Against transformers alone, row by row; a row that is too long is left out; bytes are as counted."""
    import torch
    from transformers import AutoModelForCausalLM

    from edgedistill.ml.hint_shards import HintShards
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    rows = [("light in the kitchen", "on."), ("light " * 300, "off."), ("what is the weather", "The answer is yes.")]
    config = topk_kd.Config(top_k=5, max_tokens=200)
    hints = written(tmp_path / "in", rows, Model(other_llama, "t"), Model(tiny_llama, "s"), config)
    shards = HintShards(hints.folder)
    model = AutoModelForCausalLM.from_pretrained(other_llama, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(tiny_llama)
    encoded = turns(tokenizer, end_ids(tiny_llama, tokenizer), shown(rows))
    assert shards.length(1) == 0
    for row in (0, 2):
        ids, log_probs = shards.row(row)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([encoded[row].input_ids])).logits[0]
        expected = logits.log_softmax(-1)[len(encoded[row].prompt_ids) - 1 : -1]
        top = expected.topk(5)
        assert ids.tolist() == top.indices.tolist()
        assert log_probs[:, :5].tolist() == [pytest.approx(own, abs=2e-2) for own in top.values.tolist()]
        rest = torch.log1p(-top.values.exp().sum(-1))
        assert log_probs[:, 5].tolist() == pytest.approx(rest.tolist(), abs=2e-2)
    counts = read_json(tmp_path / "in/hints/counts.json")
    assert counts["bytes_per_token"] == 5 * 2 + 6 * 2
    assert counts["tokens"] == len(encoded[0].completion_ids) + len(encoded[2].completion_ids)


def test_two_teachers_take_turns_and_a_rerun_gives_the_same_bytes(
    tiny_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    rows = [(f"which is number {n}?", f"It is {n}.") for n in range(8)]
    config = topk_kd.Config(learning_rate=1e-3, batch=2, epochs=2, top_k=4)
    student = Model(tiny_llama, "s")
    tutors = [
        Tutor(model, weight, written(tmp_path / model.key, rows, model, student, config))
        for model, weight in ((Model(tiny_llama, "a"), 1.0), (Model(other_llama, "b"), 3.0))
    ]
    seed = next(seed for seed in range(20) if set(draw(tutors, 8, seed)) == {0, 1})
    for name, rate in (("first", 1e-3), ("second", 1e-3), ("still", 1e-12)):
        (tmp_path / name).mkdir()
        own = config.model_copy(update={"learning_rate": rate})
        topk_kd.train(tmp_path / name, shown(rows), student, own, seed, tutors)
    first, second = (sha256_of(tmp_path / name / "model/model.safetensors") for name in ("first", "second"))
    assert first == second
    # What the student says itself is no news to it; where it does not move, only the other teacher's steps cost.
    losses = [row["loss"] for row in read_rows(tmp_path / "still/curve.jsonl")]
    assert [int(loss > 0.01) for loss in losses] == draw(tutors, 8, seed)


def test_bytes_of_a_token_are_as_the_documentation_says() -> None:
    from edgedistill.ml.hint_shards import bytes_per_token

    assert bytes_per_token(32, 65_536) == 130
    assert bytes_per_token(32, 151_936) == 194
