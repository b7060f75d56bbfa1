"""What `tailor` asks, keeps, counts and continues from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill.errors import StageFailed
from edgedistill.files import read_rows
from edgedistill.prompts import plain_prompt
from edgedistill.sections import TailorConfig
from edgedistill.stages.tailor import tailor as stage

tailor = stage.function
CONFIG = TailorConfig(rows=40)


def test_questions_are_sampled_and_rationales_greedy_on_the_plain_prompt(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    engine = scripted(new_engine(scripted_teacher))
    tailored = tailor(tmp_path / "out", model, [counting_task], CONFIG, 5)
    rows = list(tailored.rows())
    asked = {prompt: call["temperature"] for call in engine.calls for prompt in call["prompts"]}
    assert {temperature for prompt, temperature in asked.items() if "more questions" in prompt} == {1.0}
    assert all(asked[plain_prompt("Count.", row.question)] == 0.0 for row in rows)
    assert rows[0].id == "counting/00001"


def test_dropped_rows_and_duplicates_are_counted(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    scripted(new_engine(scripted_teacher))
    tailored = tailor(tmp_path / "out", model, [counting_task], CONFIG, 5)
    counts, rows = tailored.counts()["tasks"]["counting"], list(tailored.rows())
    assert counts["rows"] == len(rows) == 40 - counts.get("no_answer", 0) - counts.get("empty_answer", 0)
    assert not any(row.question[-1] in "78" for row in rows)
    assert counts["duplicate_of_seed"] == counts["duplicate_of_test"] == counts["prompts"]
    assert tailored.summary == f"{len(rows)} rows, {2 * counts['prompts']} duplicates removed, 100% reach their target"


@pytest.mark.parametrize("check", [False, True])
def test_rationales_that_miss_their_target_are_counted_and_dropped_when_asked(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any, check: bool
) -> None:
    """A question that ends in 3 is answered with 0; those in 7 and 8 have no answer."""

    def teacher(prompt: str, random: Any) -> str:
        is_wrong = "more questions" not in prompt and "3\nAnswer:" in prompt
        return "Wrong: <ans>0</ans>" if is_wrong else scripted_teacher(prompt, random)

    scripted(new_engine(teacher))
    config = CONFIG.model_copy(update={"check_answers": check})
    tailored = tailor(tmp_path / "out", model, [counting_task], config, 5)
    counts, rows = tailored.counts()["tasks"]["counting"], list(tailored.rows())
    wrong = [row for row in rows if row.question.endswith("3")]
    assert counts["disagrees"] > 0
    assert counts["agrees"] + counts["disagrees"] + counts["no_answer"] + counts.get("empty_answer", 0) == 40
    assert len(wrong) == (0 if check else counts["disagrees"])
    assert counts.get("misses_target", 0) == (counts["disagrees"] if check else 0)
    assert counts["rows"] == len(rows) == counts["agrees"] + (0 if check else counts["disagrees"])
    reasons = [row["reason"] for row in read_rows(tailored.path / "rejected.jsonl")]
    assert reasons.count("misses_target") == counts.get("misses_target", 0)


def test_nothing_left_after_the_check_fails_the_stage(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    scripted(new_engine(lambda p, random: scripted_teacher(p, random) if "more questions" in p else "<ans>x</ans>"))
    config = CONFIG.model_copy(update={"check_answers": True})
    with pytest.raises(StageFailed, match=r"task `counting`: none of 40 rationales is left \(40 misses target\)"):
        tailor(tmp_path / "out", model, [counting_task], config, 5)


def test_a_target_that_the_grader_cannot_read_is_missed(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    """The grader of JSON actions refuses a bare number as expected answer; a teacher's target is no user's mistake."""
    info = counting_task.info.model_copy(update={"kind": "json_action"})
    scripted(new_engine(scripted_teacher))
    tailored = tailor(tmp_path / "out", model, [replace(counting_task, info=info)], CONFIG, 5)
    counts = tailored.counts()["tasks"]["counting"]
    assert counts["disagrees"] == counts["rows"] and not counts.get("agrees")


def test_elicit_and_tailor_ask_different_random_numbers(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    """The same seed must not make the tailored questions the drafted ones again."""
    from edgedistill.sections import ElicitConfig
    from edgedistill.stages.elicit import elicit

    scripted(new_engine(scripted_teacher))
    drafts = elicit.function(tmp_path / "drafts", model, [counting_task], ElicitConfig(questions=20), 5)
    rows = tailor(tmp_path / "rows", model, [counting_task], CONFIG, 5)
    assert not {draft.question for draft in drafts.rows()} & {row.question for row in rows.rows()}


def test_a_killed_run_continues_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
    counting_task: Any,
    model: Any,
    scripted_teacher: Any,
    resumes_after_every_kill: Any,
) -> None:
    monkeypatch.setattr("edgedistill.drafting.PROMPTS_PER_SHARD", 8)
    monkeypatch.setattr("edgedistill.rationales.FIRST_ANSWERS", 8)
    monkeypatch.setattr("edgedistill.rationales.ANSWERS_PER_SHARD", 16)
    run = lambda out: tailor(out, model, [counting_task], CONFIG, 5)  # noqa: E731
    assert resumes_after_every_kill(run, scripted_teacher) >= 5
