"""Which validation items make the exam."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from edgedistill import exam, task
from edgedistill.errors import UsageError
from edgedistill.files import write_rows
from edgedistill.sections import PreferConfig


def make_task(folder: Path, kind: str, answers: list[str]) -> task.Task:
    """A task whose seeds, validation and test items have these answers."""
    folder.mkdir()
    (folder / "task.yaml").write_text(f"kind: {kind}\ntitle: t\ndescription: d\nlicence: Apache-2.0\n")
    for part in task.PARTS:
        rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": answer} for n, answer in enumerate(answers)]
        write_rows(folder / f"{part}.jsonl", rows)
    return task.load(folder)


def test_an_exam_larger_than_the_validation_set_is_refused(tmp_path: Path) -> None:
    loaded = make_task(tmp_path / "small", "tagged_answer", ["yes"] * 24)
    with pytest.raises(UsageError, match=r"exam_size: 25, but task `small` has 24 items"):
        exam.stratified(loaded, 25, 0)
    assert len(exam.stratified(loaded, 24, 0)) == 24


def test_the_exam_keeps_the_proportions_of_the_intents(tmp_path: Path) -> None:
    """40 of 60, 15 of 60 and 5 of 60 items: an exam of 12 has 8, 3 and 1 of them, whatever the seed."""
    kinds = ["on"] * 40 + ["off"] * 15 + ["dim"] * 5
    loaded = make_task(tmp_path / "actions", "json_action", [json.dumps({"intent": kind}) for kind in kinds])
    exams = [exam.stratified(loaded, 12, seed) for seed in range(5)]
    for drawn in exams:
        assert Counter(json.loads(item.answer)["intent"] for item in drawn) == {"on": 8, "off": 3, "dim": 1}
    assert len({tuple(item.id for item in drawn) for drawn in exams}) == 5
    assert exam.stratified(loaded, 12, 3) == exams[3]


# Ten respondents, from weak to able, on eight items: 0 to 3 are right from some ability on, 4 is right below one only,
# 5 is right now and then, 6 always, 7 never.
RESPONSES = [
    {"task": "t", "hits": f"{n >= 3:d}{n >= 4:d}{n >= 5:d}{n >= 6:d}{n < 5:d}{n % 2:d}10"} for n in range(10)
]  # fmt: skip


def test_the_items_that_tell_the_able_from_the_weak_make_the_exam(tmp_path: Path) -> None:
    loaded = make_task(tmp_path / "t", "tagged_answer", ["yes"] * 8)
    chosen = exam.choose(loaded, PreferConfig(exam="irt", exam_size=4), 0, RESPONSES)
    assert [item.id for item in chosen.items] == ["0", "1", "2", "3"] and chosen.chosen_by == "irt"
    assert [row["id"] for row in chosen.rows] == ["0", "1", "2", "3"]
    difficulties = [row["difficulty"] for row in chosen.rows]
    assert difficulties == sorted(difficulties), "the fewer get it right, the more difficult"
    assert all(row["discrimination"] > 1 for row in chosen.rows)


def test_items_that_all_answer_alike_are_taken_last(tmp_path: Path) -> None:
    loaded = make_task(tmp_path / "t", "tagged_answer", ["yes"] * 8)
    chosen = exam.choose(loaded, PreferConfig(exam="irt", exam_size=6), 0, RESPONSES)
    assert [item.id for item in chosen.items] == ["0", "1", "2", "3", "4", "5"]


def test_without_responses_the_exam_is_a_stratified_draw(tmp_path: Path) -> None:
    loaded = make_task(tmp_path / "t", "tagged_answer", ["yes"] * 8)
    chosen = exam.choose(loaded, PreferConfig(exam="irt", exam_size=5), 7, [])
    assert chosen.items == exam.stratified(loaded, 5, 7) and chosen.chosen_by == "stratified"
    assert chosen.rows == [{"task": "t", "id": item.id} for item in chosen.items]
