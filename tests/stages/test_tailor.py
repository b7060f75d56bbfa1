"""What `tailor` asks, keeps, counts and continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    assert tailored.summary == f"{len(rows)} rows, {2 * counts['prompts']} duplicates removed"


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
    monkeypatch.setattr("edgedistill.drafting.ANSWERS_PER_SHARD", 16)
    run = lambda out: tailor(out, model, [counting_task], CONFIG, 5)  # noqa: E731
    assert resumes_after_every_kill(run, scripted_teacher) >= 5
