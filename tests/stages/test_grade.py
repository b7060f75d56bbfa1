"""How a student sits the test: prompts, shots, grades, and what a kill leaves."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgedistill import task
from edgedistill.comparison_sections import ArmsConfig
from edgedistill.errors import UsageError
from edgedistill.files import read_rows, write_rows
from edgedistill.stages import grade as module
from edgedistill.task import Task

grade = module.grade.function
CONFIG = ArmsConfig(shots=(0, 3))


@pytest.fixture
def solved_task(counting_task: Task) -> Task:
    """The seeds have rationales."""
    seeds = [
        {**row, "rationale": f"So <ans>{row['answer']}</ans>"} for row in read_rows(counting_task.path / "seeds.jsonl")
    ]
    write_rows(counting_task.path / "seeds.jsonl", seeds)
    return task.load(counting_task.path)


def student(prompt: str, random: Random) -> str:
    """Right on even questions, wrong on 1 and 3, without an answer on 5; with examples right on 5 too."""
    number = int(re.findall(r"question (\d+)\nAnswer:", prompt)[-1])
    if number == 5 and "Seed" not in prompt and "seed" not in prompt:
        return "I do not know."
    return f"<ans>{number if number % 2 == 0 or number == 5 else 9}</ans>"


def test_answers_are_graded_at_each_number_of_shots(
    tmp_path: Path, solved_task: Task, model: Any, scripted: Any, new_engine: Any
) -> None:
    engine = scripted(new_engine(student))
    graded = grade(tmp_path / "out", model, [solved_task], CONFIG, 0)
    found = {(row.id, row.shots): (row.right, row.has_format, row.given) for row in graded.rows()}
    assert len(found) == 12
    assert found["test-2", 0] == (True, True, "2")
    assert found["test-1", 0] == (False, True, "9")
    assert found["test-5", 0] == (False, False, None)
    assert found["test-5", 3] == (True, True, "5")
    counts = graded.counts()
    assert counts["tasks"]["counting"] == {
        "0": {"items": 6, "right": 3, "has_format": 5},
        "3": {"items": 6, "right": 4, "has_format": 6},
    }
    assert counts["summary"] == "right: 0.500 at 0 shots, 0.667 at 3 shots"
    assert {(call["temperature"], call["stop"]) for call in engine.calls} == {(0.0, "</ans>")}


def test_shots_are_the_first_seeds_with_their_rationales(
    tmp_path: Path, solved_task: Task, model: Any, scripted: Any, new_engine: Any
) -> None:
    engine = scripted(new_engine(student))
    grade(tmp_path / "out", model, [solved_task], CONFIG, 0)
    shown = [prompt for call in engine.calls for prompt in call["prompts"]]
    assert shown[0] == (
        "Count. Put the final answer in <ans></ans>.\n\n"
        "Question: seed question 0\nAnswer: Let's think step by step. So <ans>0</ans>\n\n"
        "Question: seed question 1\nAnswer: Let's think step by step. So <ans>1</ans>\n\n"
        "Question: seed question 2\nAnswer: Let's think step by step. So <ans>2</ans>\n\n"
        "Question: test question 0\nAnswer: Let's think step by step."
    )
    assert sum("seed" in prompt for prompt in shown) == 6


def test_a_draw_of_items_is_the_same_for_every_model(
    tmp_path: Path, solved_task: Task, model: Any, scripted: Any, new_engine: Any
) -> None:
    few = CONFIG.model_copy(update={"items": 4})
    found = []
    for name, answer in (("one", student), ("other", lambda prompt, random: "")):
        scripted(new_engine(answer))
        found.append([row.id for row in grade(tmp_path / name, model, [solved_task], few, 7).rows()])
    assert found[0] == found[1]
    assert len(set(found[0])) == 4 and found[0] == 2 * sorted(set(found[0]))


def test_killed_anywhere_a_rerun_leaves_the_same_bytes(
    solved_task: Task, model: Any, resumes_after_every_kill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD", 5)
    assert resumes_after_every_kill(lambda out: grade(out, model, [solved_task], CONFIG, 0), student) == 3


@pytest.mark.parametrize(
    ("seeds", "says"),
    [(6, "seed `seed-0` has no rationale that ends with <ans>…</ans>"), (2, "it has 2 seeds")],
)
def test_seeds_that_cannot_be_shown_are_refused(counting_task: Task, seeds: int, says: str) -> None:
    rows = list(read_rows(counting_task.path / "seeds.jsonl"))[:seeds]
    solved = {"rationale": "So <ans>1</ans>"} if seeds < 3 else {}
    write_rows(counting_task.path / "seeds.jsonl", [{**row, **solved} for row in rows])
    with pytest.raises(UsageError, match=re.escape(says)):
        module.examples(Task(counting_task.name, counting_task.path, counting_task.info), 3)


def test_the_number_of_runs_and_arms_is_no_part_of_a_students_answers() -> None:
    assert ArmsConfig().identity() == {"shots": [0, 3], "items": None, "max_tokens": 128}
    assert ArmsConfig(seeds=9, names=("arte",), rows=5).identity() == ArmsConfig().identity()
