"""The exam, the scores and the pairs of `prefer`, with expected values by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgedistill import task
from edgedistill.artifacts import Drafts
from edgedistill.errors import StageFailed, UsageError
from edgedistill.files import read_rows, write_rows
from edgedistill.prompts import STYLES, plain_prompt
from edgedistill.signals.icl_accuracy import Config
from edgedistill.stages.prefer import choose_exam
from edgedistill.stages.prefer import prefer as stage

prefer = stage.function

# Items of a 10-item exam that the scripted student gets right, per question and style; mean per question behind it.
WORTH = {
    "count to 1": (9, 9, 9, 9),  # 0.90: a tie
    "count to 2": (8, 5, 3, 4),  # 0.50: gap 0.5
    "count to 3": (2, 2, 1, 2),  # 0.175: gap 0.1
    "count to 4": (0, 0, 0, 0),  # 0.00: a tie
}


def student(exam_size: int) -> Callable[[str, Random], str]:
    """Right on as many of the questions that follow an example as WORTH says for it and its style."""
    asked: Counter[str] = Counter()

    def answer(prompt: str, _: Random) -> str:
        example, style = re.findall(r"Question: (.*)\nAnswer: .* style (\d)", prompt)[0]
        item = re.findall(r"Question: validation question (\d+)\n", prompt)[-1]
        place = asked[f"{example} {style}"] % exam_size
        asked[f"{example} {style}"] += 1
        return f"<ans>{item if place < WORTH[example][int(style)] else 'wrong'}</ans>"

    return answer


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    folder = tmp_path / "drafts"
    rows = [
        {"id": f"counting/{number}/{style.name}", "task": "counting", "question": question, "answer": question[-1],
         "style": style.name, "rationale": f"style {place} <ans>{question[-1]}</ans>"}
        for number, question in enumerate(WORTH)
        for place, style in enumerate(STYLES)
    ]  # fmt: skip
    write_rows(folder / "drafts.jsonl", rows)
    return Drafts(folder)


def test_scores_are_shares_with_one_hit_per_exam_item(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    engine = scripted(new_engine(student(10)))
    preferences = prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10), 1)
    scores = list(preferences.scores())
    assert [score.score * 10 for score in scores] == pytest.approx([n for row in WORTH.values() for n in row])
    assert scores[4].hits == "1111111100" and scores[4].draft_id == "counting/1/procedure"
    assert all(call["temperature"] == 0.0 and call["stop"] == "</ans>" for call in engine.calls)
    exam = list(read_rows(preferences.path / "exam.jsonl"))
    assert len(exam) == len({row["id"] for row in exam}) == 10


def test_pairs_are_best_against_worst_and_small_gaps_are_dropped(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """Means .9 .5 .175 0: question pairs 1-4 (gap .9) and 2-3 (gap .325). Rationales: .5 kept, .1 < .2, two ties."""
    scripted(new_engine(student(10)))
    preferences = prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10, min_gap=0.2), 1)
    first, second, rationale = preferences.pairs()
    assert [pair.level for pair in (first, second, rationale)] == ["question", "question", "rationale"]
    assert [pair.margin for pair in (first, second, rationale)] == pytest.approx([0.9, 0.325, 0.5])
    assert first.chosen == "<Question_4><input>count to 1</input><target>1</target></Question_4>"
    assert first.rejected == "<Question_4><input>count to 4</input><target>4</target></Question_4>"
    assert first.prompt.count("<Question_") == 3 and "Write 1 more questions" in first.prompt
    assert second.prompt != first.prompt
    assert rationale.prompt == plain_prompt("Count.", "count to 2")
    assert (rationale.chosen, rationale.rejected) == ("style 0 <ans>2</ans>", "style 2 <ans>2</ans>")
    counts = preferences.counts()
    assert counts["tasks"]["counting"] == {
        "question_pairs": 2, "rationale_pairs": 1, "rationale_tie": 2, "rationale_gap_too_small": 1,
    }  # fmt: skip
    assert counts["rows"] == 3 and preferences.summary == "3 pairs from 16 drafts"


def test_a_gap_equal_to_the_minimum_makes_a_pair(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """0.2 - 0.1 is a hair below 0.1 in binary, and still 0.1."""
    scripted(new_engine(student(10)))
    preferences = prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10, min_gap=0.1), 1)
    assert [pair.margin for pair in preferences.pairs() if pair.level == "rationale"] == pytest.approx([0.5, 0.1])


def test_question_pairs_can_be_fewer_or_none(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    scripted(new_engine(student(10)))
    config = Config(exam_size=10, question_pairs=0)
    preferences = prefer(tmp_path / "out", drafts, model, [counting_task], config, 1)
    assert {pair.level for pair in preferences.pairs()} == {"rationale"}


def test_a_student_that_no_draft_helps_fails_the_stage(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    scripted(new_engine(lambda prompt, random: "no answer"))
    with pytest.raises(StageFailed, match="no two of 16 drafts differ") as failed:
        prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10), 1)
    assert "'question_tie': 2" in failed.value.problem
    assert not (tmp_path / "out" / "counts.json").exists()


def test_an_exam_larger_than_the_validation_set_is_refused(counting_task: Any) -> None:
    with pytest.raises(UsageError, match=r"exam_size: 25, but task `counting` has 24 items"):
        choose_exam(counting_task, 25, 0)
    assert len(choose_exam(counting_task, 24, 0)) == 24


def test_the_exam_keeps_the_proportions_of_the_intents(tmp_path: Path) -> None:
    """40 of 60, 15 of 60 and 5 of 60 items: an exam of 12 has 8, 3 and 1 of them, whatever the seed."""
    folder = tmp_path / "actions"
    folder.mkdir()
    (folder / "task.yaml").write_text("kind: json_action\ntitle: t\ndescription: d\nlicence: Apache-2.0\n")
    kinds = ["on"] * 40 + ["off"] * 15 + ["dim"] * 5
    rows = [{"id": str(n), "question": f"q{n}", "answer": json.dumps({"intent": kind})} for n, kind in enumerate(kinds)]
    for part in ("seeds", "validation", "test"):
        write_rows(folder / f"{part}.jsonl", rows)
    loaded = task.load(folder)
    exams = [choose_exam(loaded, 12, seed) for seed in range(5)]
    for exam in exams:
        assert Counter(json.loads(item.answer)["intent"] for item in exam) == {"on": 8, "off": 3, "dim": 1}
    assert len({tuple(item.id for item in exam) for exam in exams}) == 5
    assert choose_exam(loaded, 12, 3) == exams[3]


def test_a_killed_run_continues_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, drafts: Drafts, counting_task: Any, model: Any, resumes_after_every_kill: Any
) -> None:
    monkeypatch.setattr("edgedistill.stages.prefer.DRAFTS_PER_SHARD", 4)
    run = lambda out: prefer(out, drafts, model, [counting_task], Config(exam_size=10), 1)  # noqa: E731
    assert resumes_after_every_kill(run, student(10)) == 4
