"""Methods one after another, each a stage of its own in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill import inputs, recipe, yaml_file
from edgedistill.artifacts import Tailored
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_rows
from edgedistill.recipe import Recipe
from edgedistill.schooling import school
from edgedistill.store import Stopped, Store, stage

QUICKSTART = yaml_file.shipped("recipes") / "quickstart"
QUICK = "learning_rate: 1.0e-3, batch: 4, epochs: 1"


def made(*overrides: str) -> Recipe:
    return recipe.load("quickstart", overrides)


@pytest.fixture
def rows(tmp_path: Path) -> Tailored:
    """Eight rows from the task's own items."""
    recipes = made()
    (task,) = inputs.open_all(recipes, may_fetch=False)[0]
    folder = tmp_path / "rows"
    found = [
        {"id": f"home/{n}", "task": "home", "question": item.question, "answer": item.answer,
         "rationale": f"<ans>{item.answer}</ans>"}
        for n, item in enumerate(task.validation[:8])
    ]  # fmt: skip
    return Tailored(write_rows(folder / "rows.jsonl", found).parent, "rows")


def steps_of(recipes: Recipe, rows: Tailored, runs: Path, *, dry: bool = True, until: str | None = None) -> Store:
    tasks, teacher, student = inputs.open_all(recipes, may_fetch=False)
    store = Store(runs, dry=dry, until=until)
    school(store, recipes, rows, student, teacher, tasks, 0)
    return store


def keys(store: Store, name: str = "distill") -> list[str]:
    return [step.key for step in store.steps if step.name == name]


def test_one_method_and_a_list_of_one_are_the_same_stage(rows: Tailored, tmp_path: Path) -> None:
    one, listed = (steps_of(made(f"distill={text}"), rows, tmp_path) for text in ("{method: sft}", "[{method: sft}]"))
    assert keys(one) == keys(listed)
    assert len(keys(one)) == 1


def test_a_later_method_changes_nothing_before_it(rows: Tailored, tmp_path: Path) -> None:
    """And it depends on what comes before: another first method makes another second stage."""
    alone = keys(steps_of(made("distill={method: sft}"), rows, tmp_path))
    chain = keys(steps_of(made("distill=[{method: sft}, {method: pad}]"), rows, tmp_path))
    other = keys(steps_of(made("distill=[{method: sft, epochs: 2}, {method: pad}]"), rows, tmp_path))
    assert chain[0] == alone[0]
    assert len({*chain, *other}) == 4


def test_what_a_teacher_writes_down_is_shared_by_students_and_epochs(rows: Tailored, tmp_path: Path) -> None:
    """`teach` is one stage for both steps, with other epochs, and behind another method; not with another top_k."""
    texts = (
        "[{method: topk_kd}, {method: topk_kd, epochs: 2}]",
        "[{method: sft}, {method: topk_kd, divergence: jsd}]",
        "{method: topk_kd, top_k: 5}",
    )
    first, second, third = (keys(steps_of(made(f"distill={text}"), rows, tmp_path), "teach") for text in texts)
    assert set(first) == set(second)
    assert set(third) != set(first)


def test_several_teachers_are_part_of_the_stage(rows: Tailored, tmp_path: Path) -> None:
    base = keys(steps_of(made("distill={method: seqkd}"), rows, tmp_path))
    both = keys(steps_of(made("distill={method: seqkd, teachers: [{model: models/student}]}"), rows, tmp_path))
    other = keys(
        steps_of(made("distill={method: seqkd, own_weight: 0, teachers: [{model: models/student}]}"), rows, tmp_path)
    )
    assert len({*base, *both, *other}) == 3


def test_a_teacher_that_is_not_there_is_named_by_its_key() -> None:
    with pytest.raises(UsageError, match=r"distill\.teachers\.0\."):
        inputs.check(made("distill={method: seqkd, teachers: [{model: models/nobody}]}"))


def test_until_distill_ends_behind_the_last_method(rows: Tailored, tmp_path: Path) -> None:
    """Whatever teachers write down comes before the first one."""
    store = steps_of(made("distill=[{method: sft}, {method: topk_kd}]"), rows, tmp_path, until="distill")
    assert [step.name for step in store.steps] == ["teach", "distill", "distill"]
    with pytest.raises(Stopped):
        store.run(_after, rows)


@stage(version=1)
def _after(out: Path, rows: Tailored) -> Tailored:
    raise AssertionError("it is dry")


@pytest.mark.slow
def test_a_chain_trains_the_student_of_the_step_before_and_its_steps_are_cached(rows: Tailored, tmp_path: Path) -> None:
    chain = made(
        f"distill=[{{method: sft, {QUICK}}}, {{method: topk_kd, {QUICK}}},"
        f" {{method: pad, alpha: 1.0, device_batch: 4, max_answer_tokens: 16, {QUICK}}}]"
    )
    first = steps_of(chain, rows, tmp_path / "runs", dry=False)
    assert [(step.name, step.status) for step in first.steps] == [
        ("teach", "ran"), ("distill", "ran"), ("distill", "ran"), ("distill", "ran")
    ]  # fmt: skip
    again = steps_of(chain, rows, tmp_path / "runs", dry=False)
    assert [step.status for step in again.steps] == ["cached"] * 4
    after_sft, after_kd, _ = keys(first)
    curve = tmp_path / "runs/distill" / after_kd / "curve.jsonl"
    assert curve.is_file()
    # The second step began with the first one's student: its manifest names it.
    identity = read_json(tmp_path / "runs/distill" / after_kd / "manifest.json")["identity"]
    assert identity["inputs"]["student"]["model"] == after_sft
