"""What `elicit` asks, keeps, counts and continues from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgedistill import task, yaml_file
from edgedistill.artifacts import Drafts
from edgedistill.drafting import seeds_for
from edgedistill.errors import StageFailed
from edgedistill.files import read_rows
from edgedistill.models import Model
from edgedistill.sections import ElicitConfig
from edgedistill.stages.elicit import elicit as stage
from edgedistill.task import fold

elicit = stage.function
CONFIG = ElicitConfig(questions=20, temperature=0.9, max_question_tokens=99, max_rationale_tokens=77)


@pytest.fixture
def drafted(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> tuple[Drafts, Any]:
    engine = scripted(new_engine(scripted_teacher))
    return elicit(tmp_path / "out", model, [counting_task], CONFIG, 5), engine


def test_every_question_gets_one_rationale_per_style(drafted: tuple[Drafts, Any]) -> None:
    drafts, _ = drafted
    rows = list(drafts.rows())
    rejected = list(read_rows(drafts.path / "rejected.jsonl"))
    assert len(rows) + len(rejected) == 80
    assert len({row.question for row in rows} | {row["question"] for row in rejected}) == 20
    by_question = Counter(row.question for row in rows)
    assert set(by_question.values()) == {4}
    assert {row.style for row in rows} == {"procedure", "rules", "bare", "elimination"}
    assert rows[0].id == "counting/0001/procedure"
    assert all(row.answer == row.question.split()[-1] for row in rows)
    assert all(row.rationale.startswith("It is") and row.rationale.endswith("</ans>") for row in rows)


def test_unusable_answers_are_counted_by_reason(drafted: tuple[Drafts, Any]) -> None:
    """Of five blocks per prompt: two new, one broken, one equal to a seed, one to a test question."""
    drafts, engine = drafted
    counts = drafts.counts()["tasks"]["counting"]
    prompts = len(engine.asked("more questions"))
    assert counts["prompts"] == prompts
    assert counts["malformed"] == counts["duplicate_of_seed"] == counts["duplicate_of_test"] == prompts
    assert counts["parsed"] == 4 * prompts
    assert counts["surplus"] == 2 * prompts - 20
    rejected = Counter(row["reason"] for row in read_rows(drafts.path / "rejected.jsonl"))
    assert rejected == {reason: counts[reason] for reason in ("no_answer", "empty_answer") if counts[reason]}
    assert counts["drafts"] + sum(rejected.values()) == 80
    assert drafts.counts()["rows"] == counts["drafts"]
    assert drafts.summary == f"{counts['drafts']} drafts of 20 questions"


def test_what_the_teacher_is_asked(drafted: tuple[Drafts, Any]) -> None:
    _, engine = drafted
    asked = engine.asked("more questions")
    assert all("Write 5 more questions" in prompt and prompt.count("<Question_") == 3 for prompt in asked)
    assert {call["temperature"] for call in engine.calls} == {0.9}
    assert {call["max_tokens"] for call in engine.calls} == {99, 77}
    assert {call["stop"] for call in engine.calls if call["max_tokens"] == 77} == {"</ans>"}
    assert len(engine.asked("Answer:")) == 80


def test_seeds_rotate_so_that_each_is_shown_equally_often(counting_task: Any) -> None:
    shown = [seeds_for(counting_task, 1, number) for number in range(30)]
    assert Counter(item.id for seeds in shown for item in seeds) == {f"seed-{n}": 15 for n in range(6)}
    assert all(len({item.id for item in seeds}) == 3 for seeds in shown)
    assert len({tuple(item.id for item in seeds) for seeds in shown}) > 10


def test_a_teacher_that_repeats_itself_is_given_up_with_the_counts(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """Budget: 3 times 4 prompts; every prompt after the first brings the same question again."""
    block = "<Question_4><input>Again</input><target>1</target></Question_4>"
    engine = scripted(new_engine(lambda prompt, random: block))
    with pytest.raises(StageFailed, match="wrote 1 of 20 usable questions") as failed:
        elicit(tmp_path / "out", model, [counting_task], ElicitConfig(questions=20, attempts=3), 5)
    assert "11 duplicate of another" in failed.value.problem and "12 prompts" in failed.value.problem
    assert len(engine.asked("more questions")) == 12
    assert not (tmp_path / "out" / "drafts.jsonl").exists()


def test_rationales_without_any_answer_fail_the_stage(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    scripted(new_engine(lambda p, random: scripted_teacher(p, random) if "more questions" in p else "no idea"))
    with pytest.raises(StageFailed, match="none of 80 rationales for task `counting` has an answer"):
        elicit(tmp_path / "out", model, [counting_task], CONFIG, 5)


def test_a_killed_run_continues_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
    counting_task: Any,
    model: Any,
    scripted_teacher: Any,
    resumes_after_every_kill: Any,
) -> None:
    monkeypatch.setattr("edgedistill.drafting.PROMPTS_PER_SHARD", 4)
    monkeypatch.setattr("edgedistill.drafting.ANSWERS_PER_SHARD", 32)
    run = lambda out: elicit(out, model, [counting_task], CONFIG, 5)  # noqa: E731
    assert resumes_after_every_kill(run, scripted_teacher) >= 6


@pytest.mark.slow
def test_the_embedded_teacher_drafts_for_the_quickstart_task(tmp_path: Path) -> None:
    """Real models, no script: >= 80% of its questions parse, and most rationales have an answer."""
    pytest.importorskip("torch")
    recipe = yaml_file.shipped("recipes") / "quickstart"
    if not (recipe / "models" / "teacher" / "README.md").is_file():
        pytest.skip("the embedded teacher is not trained yet: it has no model card")
    home = task.load(recipe / "home")
    drafts = elicit(
        tmp_path / "out", Model(recipe / "models" / "teacher", "teacher"), [home], ElicitConfig(questions=12), 1
    )
    counts = drafts.counts()["tasks"]["home"]
    assert counts["parsed"] >= 0.8 * (counts["parsed"] + counts["malformed"])
    assert counts["drafts"] >= 40
    assert {row.style for row in drafts.rows()} == {"procedure", "rules", "bare", "elimination"}
    known = {fold(item.question) for part in (home.seeds, home.validation, home.test) for item in part}
    assert not known & {fold(row.question) for row in drafts.rows()}
