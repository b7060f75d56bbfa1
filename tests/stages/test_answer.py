"""What `answer` asks about other teachers' questions, keeps, and continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Drafts, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.prompts import plain_prompt
from edgedistill.sections import TailorConfig
from edgedistill.stages.answer import answer as stage

answer = stage.function
CONFIG = TailorConfig(max_rationale_tokens=77)


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    """Three questions, the first and the last with several styles."""
    folder = tmp_path / "drafts"
    styles = {1: ("procedure", "bare"), 2: ("rules",), 5: ("procedure", "rules", "bare")}
    rows = [
        {
            "id": f"counting/{number:04}/{style}",
            "task": "counting",
            "question": f"how many is {number}",
            "answer": str(number),
            "style": style,
            "rationale": "drafted <ans>0</ans>",
        }
        for number, own in styles.items()
        for style in own
    ]
    write_rows(folder / "drafts.jsonl", rows)
    return Drafts(folder)


def test_each_drafted_question_gets_one_greedy_plain_rationale(
    tmp_path: Path,
    drafts: Drafts,
    counting_task: Any,
    model: Any,
    scripted: Any,
    new_engine: Any,
    scripted_teacher: Any,
) -> None:
    engine = scripted(new_engine(scripted_teacher))
    answered = answer(tmp_path / "out", drafts, model, [counting_task], CONFIG, 5)
    assert [(row.id, row.question, row.answer) for row in answered.rows()] == [
        ("counting/0001", "how many is 1", "1"),
        ("counting/0002", "how many is 2", "2"),
        ("counting/0005", "how many is 5", "5"),
    ]
    assert all(row.rationale.endswith(f"<ans>{row.answer}</ans>") for row in answered.rows())
    assert [call["prompts"] for call in engine.calls] == [
        [plain_prompt("Count.", f"how many is {number}") for number in (1, 2, 5)]
    ]
    assert (engine.calls[0]["temperature"], engine.calls[0]["max_tokens"]) == (0.0, 77)
    assert answered.counts() == {
        "rows": 3,
        "summary": "3 rows, 100% reach their target",
        "tasks": {"counting": {"agrees": 3, "rows": 3}},
    }


def test_tailored_questions_keep_their_ids_and_unusable_answers_are_counted(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    """The scripted teacher has no answer to what ends in 7."""
    asked = [
        {"id": f"counting/{n:05}", "task": "counting", "question": f"to {n}", "answer": "3", "rationale": "old"}
        for n in (3, 7, 9)
    ]
    write_rows(tmp_path / "tailored" / "rows.jsonl", asked)
    scripted(new_engine(scripted_teacher))
    answered = answer(tmp_path / "out", Tailored(tmp_path / "tailored"), model, [counting_task], CONFIG, 5)
    assert [row.id for row in answered.rows()] == ["counting/00003", "counting/00009"]
    counts = answered.counts()["tasks"]["counting"]
    assert counts == {"agrees": 1, "disagrees": 1, "no_answer": 1, "rows": 2}


def test_a_task_without_questions_is_refused_before_the_model_is_opened(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    write_rows(drafts.path / "drafts.jsonl", [])
    engine = scripted(new_engine(lambda prompt, random: ""))
    with pytest.raises(StageFailed, match="task `counting`: there is no question in"):
        answer(tmp_path / "out", drafts, model, [counting_task], CONFIG, 5)
    assert not engine.calls


def test_a_killed_run_continues_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
    drafts: Drafts,
    counting_task: Any,
    model: Any,
    scripted_teacher: Any,
    resumes_after_every_kill: Any,
) -> None:
    monkeypatch.setattr("edgedistill.rationales.FIRST_ANSWERS", 1)
    monkeypatch.setattr("edgedistill.rationales.ANSWERS_PER_SHARD", 1)
    run = lambda out: answer(out, drafts, model, [counting_task], CONFIG, 5)  # noqa: E731
    assert resumes_after_every_kill(run, scripted_teacher) == 3
