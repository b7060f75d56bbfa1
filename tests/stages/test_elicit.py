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
    """Budget: 4 times 4 prompts, in rounds of 8; every prompt after the first brings the same question again."""
    block = "<Question_4><input>Again</input><target>1</target></Question_4>"
    engine = scripted(new_engine(lambda prompt, random: block))
    with pytest.raises(StageFailed, match="wrote 1 of 20 usable questions") as failed:
        elicit(tmp_path / "out", model, [counting_task], ElicitConfig(questions=20, attempts=4), 5)
    assert "used up its 16 prompts" in failed.value.problem
    assert "15 duplicate of another" in failed.value.problem and "16 prompts" in failed.value.problem
    assert len(engine.asked("more questions")) == 16
    assert not (tmp_path / "out" / "drafts.jsonl").exists()


def test_more_attempts_go_on_from_what_was_written_and_end_as_if_they_had_been_given_at_first(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    """60 questions of 2 per prompt need 30 prompts; `attempts: 1` allows 12, which the first round of 15 passes."""
    few, many = (CONFIG.model_copy(update={"questions": 60, "attempts": attempts}) for attempts in (1, 9))
    assert few.identity() == many.identity()
    scripted(new_engine(scripted_teacher))
    with pytest.raises(StageFailed, match="wrote 30 of 60 usable") as failed:
        elicit(tmp_path / "out", model, [counting_task], few, 5)
    assert "what was written is kept" in failed.value.hint
    engine = scripted(new_engine(scripted_teacher))
    elicit(tmp_path / "out", model, [counting_task], many, 5)
    assert len(engine.asked("more questions")) < 30
    scripted(new_engine(scripted_teacher))
    elicit(tmp_path / "at-once", model, [counting_task], many, 5)
    for name in ("drafts.jsonl", "rejected.jsonl", "counts.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "at-once" / name).read_bytes()


def test_a_teacher_that_never_tags_is_stopped_after_a_tenth_of_its_prompts(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """20 questions need 4 prompts, 40 attempts allow 160; the tenth, 16, is two rounds of 8."""
    engine = scripted(new_engine(lambda prompt, random: "Sure! Here are\n\x1b[1mfive\x1b[0m questions:\n1. What …"))
    with pytest.raises(StageFailed, match="16 of at most 160 prompts brought not one tagged question") as failed:
        elicit(tmp_path / "out", model, [counting_task], ElicitConfig(questions=20, attempts=40), 5)
    assert "elicit: task `counting`" in failed.value.problem
    assert 'the teacher says: "Sure! Here are [1mfive [0m questions: 1. What …"' in failed.value.problem
    assert "choose a teacher that keeps to the form" in failed.value.hint
    assert len(engine.asked("more questions")) == 16
    kept = [row for shard in sorted((tmp_path / "out").rglob("0*.jsonl")) for row in read_rows(shard)]
    assert len(kept) == 16 and all(row["text"].startswith("Sure!") for row in kept)


def test_near_duplicates_are_dropped_and_the_way_out_is_told(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """`please count up to 7` and `please count up to 8`: 4 of 5 words, 0.8. The task's own are far away."""

    def alike(prompt: str, random: Any) -> str:
        if "more questions" not in prompt:
            return "<ans>1</ans>"
        number = random.randrange(10**6)
        return f"<Question_4><input>please count up to {number}</input><target>{number}</target></Question_4>"

    scripted(new_engine(alike))
    with pytest.raises(StageFailed, match=r"wrote 1 of 20 usable.*15 near duplicate of another") as failed:
        elicit(tmp_path / "out", model, [counting_task], ElicitConfig(questions=20, attempts=4), 5)
    assert "set it to null" in failed.value.hint
    scripted(new_engine(alike))
    drafts = elicit(tmp_path / "all", model, [counting_task], ElicitConfig(questions=20, near_duplicate=None), 5)
    assert len({row.question for row in drafts.rows()}) == 20


def test_the_recipe_may_give_its_own_styles_for_all_tasks_and_for_one(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    engine = scripted(new_engine(scripted_teacher))
    terse, five = {"name": "terse", "instruction": "Be brief."}, {"name": "eli5", "has_opener": False}
    config = ElicitConfig.model_validate({"questions": 10, "styles": [terse, five], "near_duplicate": None})
    drafts = elicit(tmp_path / "out", model, [counting_task], config, 5)
    assert {row.style for row in drafts.rows()} == {"terse", "eli5"}
    asked = engine.asked("Answer:")
    assert len([prompt for prompt in asked if prompt.startswith("Be brief. Count. Put the final answer")]) == 10
    assert len([prompt for prompt in asked if prompt.startswith("Count.") and prompt.endswith("Answer:")]) == 10
    config = ElicitConfig.model_validate({"questions": 10, "task_styles": {"counting": [terse], "other": [five]}})
    drafts = elicit(tmp_path / "one", model, [counting_task], config, 5)
    assert {row.style for row in drafts.rows()} == {"terse"}


def test_styles_are_told_apart_by_name_and_are_part_of_the_key() -> None:
    with pytest.raises(ValueError, match="two styles are named `a`"):
        ElicitConfig.model_validate({"styles": [{"name": "a"}, {"name": "a", "instruction": "Other."}]})
    with pytest.raises(ValueError, match="should match pattern"):
        ElicitConfig.model_validate({"task_styles": {"counting": [{"name": "a/b"}]}})
    own = ElicitConfig.model_validate({"task_styles": {"counting": [{"name": "a"}]}})
    assert own.identity() != ElicitConfig().identity()


def test_rationales_without_any_answer_stop_the_stage_after_the_first_ones(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any, scripted_teacher: Any
) -> None:
    """20 questions, four styles: 80 rationales, of which the first 64 are asked for."""
    engine = scripted(new_engine(lambda p, random: scripted_teacher(p, random) if "more questions" in p else "no idea"))
    told = 'task `counting`: none of the first 64 of 80 rationales has an answer in <ans></ans>.*"no idea"'
    with pytest.raises(StageFailed, match=told):
        elicit(tmp_path / "out", model, [counting_task], CONFIG, 5)
    assert len(engine.asked("Answer:")) == 64
    assert len(list(read_rows(tmp_path / "out" / "shards" / "counting" / "rationales" / "0000.jsonl"))) == 64


def test_a_killed_run_continues_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
    counting_task: Any,
    model: Any,
    scripted_teacher: Any,
    resumes_after_every_kill: Any,
) -> None:
    monkeypatch.setattr("edgedistill.drafting.PROMPTS_PER_SHARD", 4)
    monkeypatch.setattr("edgedistill.rationales.FIRST_ANSWERS", 16)
    monkeypatch.setattr("edgedistill.rationales.ANSWERS_PER_SHARD", 32)
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
    config = ElicitConfig(questions=12, near_duplicate=None, max_question_tokens=320, max_rationale_tokens=96)
    drafts = elicit(tmp_path / "out", Model(recipe / "models" / "teacher", "teacher"), [home], config, 1)
    counts = drafts.counts()["tasks"]["home"]
    assert counts["parsed"] >= 0.8 * (counts["parsed"] + counts["malformed"])
    assert counts["drafts"] >= 40
    assert {row.style for row in drafts.rows()} == {"procedure", "rules", "bare", "elimination"}
    known = {fold(item.question) for part in (home.seeds, home.validation, home.test) for item in part}
    assert not known & {fold(row.question) for row in drafts.rows()}
