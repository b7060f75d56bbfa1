"""The scores and the pairs of `prefer`, with expected values by hand; its exam and its races, resumed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgedistill import pairs, task
from edgedistill.artifacts import Drafts
from edgedistill.errors import StageFailed, UsageError
from edgedistill.files import read_rows, write_rows
from edgedistill.prompts import STYLES, plain_prompt
from edgedistill.signals.icl_accuracy import Config
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
    with pytest.raises(
        StageFailed, match=r"all 16 drafts score 0 on 10 exam items each: .* no exam item right"
    ) as failed:
        prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10), 1)
    assert "the student gets no exam item right" in failed.value.problem
    assert "'question_tie': 2" in failed.value.problem and "answer_loglik" in failed.value.hint
    assert not (tmp_path / "out" / "counts.json").exists()
    assert (tmp_path / "out" / "shards" / "counting" / "0000.jsonl").is_file(), "what was answered is kept"


def test_drafts_that_differ_too_little_fail_the_stage(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    scripted(new_engine(student(10)))
    with pytest.raises(
        StageFailed, match=r"no two of 16 drafts differ by 0\.95 or more; scores go from 0\.000 to 0\.900"
    ):
        prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10, min_gap=0.95), 1)


def test_scores_tell_how_many_items_they_rest_on_and_how_sure_they_are(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """8 of 10: the variance of a sample of eight ones and two zeros is 1.6 / 9, over 10 items."""
    scripted(new_engine(student(10)))
    preferences = prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam_size=10), 1)
    score = list(preferences.scores())[4]
    assert score.answered == 10 and score.error == pytest.approx((1.6 / 9 / 10) ** 0.5)
    assert preferences.counts()["answers"] == 160 and preferences.counts()["spent"] == {"counting": 1.0}


def test_quartile_pairs_match_the_top_quarter_with_the_bottom_quarter_by_lot() -> None:
    """Nine questions: two of the top and two of the bottom, each once, the middle five never."""
    ranked = [f"{place}" for place in range(9)]
    matched = [pairs._matched(ranked, "quartile", seed) for seed in range(8)]
    for found in matched:
        assert sorted(chosen for chosen, _ in found) == ["0", "1"]
        assert sorted(rejected for _, rejected in found) == ["7", "8"]
    assert len({tuple(found) for found in matched}) == 2
    assert pairs._matched(ranked[:3], "quartile", 0) == []


def by_ability(prompt: str, _: Random) -> str:
    """Right on the items below eight times the examples, but always on the first four, and never on the last two."""
    item = int(re.findall(r"Question: validation question (\d+)\n", prompt)[-1])
    shots = prompt.count("Question: seed")
    return f"<ans>{item if item < 4 or (item < 8 * shots and item < 22) else 'wrong'}</ans>"


@pytest.fixture
def solved_task(tmp_path: Path) -> Any:
    """24 validation items, and six seeds with rationales."""
    folder = tmp_path / "solved"
    folder.mkdir()
    (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: d\nlicence: x\n")
    for part, word, count in (("seeds", "seed", 6), ("validation", "validation", 24), ("test", "test", 6)):
        rows = [{"id": f"{n}", "question": f"{word} question {n}", "answer": f"{n}"} for n in range(count)]
        write_rows(folder / f"{part}.jsonl", [{**row, "rationale": f"<ans>{row['answer']}</ans>"} for row in rows])
    return task.load(folder)


def test_respondents_choose_the_exam_and_their_answers_stay(
    tmp_path: Path, drafts: Drafts, solved_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """Two models at 0 to 3 shots: items 4 to 21 tell them apart, the first four and the last two do not."""
    scripted(new_engine(by_ability))
    config = Config(exam="irt", exam_size=18, respondents=({"model": "other"},))
    out = tmp_path / "out"
    with pytest.raises(StageFailed, match="no two of 0 drafts"):
        prefer(out, drafts, model, [solved_task], config, 1, [model])
    assert {row["id"] for row in read_rows(out / "exam.jsonl")} == {f"{item}" for item in range(4, 22)}
    rows = list(read_rows(out / "responses.jsonl"))
    assert [row["shots"] for row in rows] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [row["hits"].count("1") for row in rows[:4]] == [4, 8, 16, 22]


def test_too_few_respondents_warn_and_draw_without_being_asked(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any, capsys: Any
) -> None:
    engine = scripted(new_engine(student(10)))
    preferences = prefer(tmp_path / "out", drafts, model, [counting_task], Config(exam="irt", exam_size=10), 1)
    assert "needs 8 respondents, this recipe makes 4" in capsys.readouterr().err
    assert preferences.counts()["exam"] == {"counting": "stratified"}
    assert not engine.asked("Question: seed")


def test_respondents_without_enough_solved_seeds_are_refused(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    scripted(new_engine(by_ability))
    config = Config(exam="irt", exam_size=10, respondent_hands=3)
    with pytest.raises(UsageError, match="respondent_shots: 1, but task `counting` has 0 seeds with a rationale"):
        prefer(tmp_path / "out", drafts, model, [counting_task], config, 1)


def many(tmp_path: Path) -> Drafts:
    """Forty questions with two drafts each; the student is right with the first on items below 20, else below 4."""
    rows = [
        {"id": f"counting/{number:02}/{style}", "task": "counting", "question": f"draft {number}", "answer": "1",
         "style": style, "rationale": f"{style} <ans>1</ans>"}
        for number in range(40) for style in ("good", "poor")
    ]  # fmt: skip
    write_rows(tmp_path / "many" / "drafts.jsonl", rows)
    return Drafts(tmp_path / "many")


def imitator(prompt: str, _: Random) -> str:
    item = int(re.findall(r"Question: validation question (\d+)\n", prompt)[-1])
    return f"<ans>{item if item < (20 if ' good ' in prompt else 4) else 'wrong'}</ans>"


def test_a_race_spends_its_budget_and_makes_the_same_pairs(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    """Of 80 x 24 answers less than half are asked, and each good draft is still chosen over its poor rival."""
    engine = scripted(new_engine(imitator))
    config = Config(exam_size=24, budget=0.4, question_pairs=0)
    preferences = prefer(tmp_path / "out", many(tmp_path), model, [counting_task], config, 1)
    asked = sum(len(call["prompts"]) for call in engine.calls)
    counts, scores = preferences.counts(), list(preferences.scores())
    assert asked == counts["answers"] == sum(score.answered for score in scores) < 0.4 * 80 * 24
    assert 0.3 < counts["spent"]["counting"] <= 0.4
    for score in scores:
        assert len(score.hits) == 24 and score.answered == sum(hit in "01" for hit in score.hits)
        assert all(hit in "01-" for hit in score.hits) and score.error is not None and score.error > 0
    made = list(preferences.pairs())
    assert len(made) == 40 and all(pair.chosen.startswith("good") and pair.rejected.startswith("poor") for pair in made)


def test_a_budget_that_is_too_small_stops_before_the_student_is_asked(
    tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    engine = scripted(new_engine(imitator))
    with pytest.raises(StageFailed, match=r"prefer\.budget: 0\.05 does not pay for 4 items"):
        prefer(tmp_path / "out", many(tmp_path), model, [counting_task], Config(exam_size=24, budget=0.05), 1)
    assert not engine.calls


def test_a_killed_race_continues_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting_task: Any, model: Any, resumes_after_every_kill: Any
) -> None:
    monkeypatch.setattr("edgedistill.scoring.DRAFTS_PER_SHARD", 40)
    config, drafts = Config(exam_size=24, budget=0.4, question_pairs=4), many(tmp_path)
    run = lambda out: prefer(out, drafts, model, [counting_task], config, 1)  # noqa: E731
    assert resumes_after_every_kill(run, imitator) >= 4


def by_style(prompt: str, _: Random) -> str:
    """Right on the first items; with an example, on six more for each style."""
    item = int(re.findall(r"Question: validation question (\d+)\n", prompt)[-1])
    style = re.findall(r"style (\d)", prompt) or ["0"]
    return f"<ans>{item if item < 6 + 6 * int(style[0]) else 'wrong'}</ans>"


def test_a_killed_sitting_of_respondents_continues_to_the_same_bytes(
    drafts: Drafts, counting_task: Any, model: Any, resumes_after_every_kill: Any
) -> None:
    """Eight respondents, then one shard of drafts."""
    config = Config(exam="irt", exam_size=10, respondent_shots=(0,), respondents=({"model": "m"},) * 7)
    run = lambda out: prefer(out, drafts, model, [counting_task], config, 1, [model] * 7)  # noqa: E731
    assert resumes_after_every_kill(run, by_style) == 9


def test_a_killed_run_continues_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, drafts: Drafts, counting_task: Any, model: Any, resumes_after_every_kill: Any
) -> None:
    monkeypatch.setattr("edgedistill.scoring.DRAFTS_PER_SHARD", 4)
    run = lambda out: prefer(out, drafts, model, [counting_task], Config(exam_size=10), 1)  # noqa: E731
    assert resumes_after_every_kill(run, student(10)) == 4
