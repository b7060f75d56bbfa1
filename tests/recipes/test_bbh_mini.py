"""The recipe that compares ARTE's arms on the families of quickstart."""

from __future__ import annotations

from pathlib import Path

from edgedistill import inputs, recipe
from edgedistill.commands import shelf

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_arms_can_have_equal_rows_and_three_shots():
    made = recipe.load("bbh-mini")
    tasks, *_ = inputs.open_all(made)
    assert made.elicit.questions == made.tailor.rows
    assert (made.arms.seeds, made.arms.shots) == (3, (0, 3))
    for task in tasks:
        assert all(seed.rationale.endswith(f"<ans>{seed.answer}</ans>") for seed in task.seeds)


def test_tasks_are_called_what_the_teacher_was_taught():
    """Titles and descriptions are part of the prompts that the embedded pair learned."""
    from recipes.quickstart.make.families import FAMILIES

    tasks, *_ = inputs.open_all(recipe.load("bbh-mini"))
    told = {task.name: (task.info.title, task.info.description) for task in tasks}
    assert told == {family.name: (family.name, family.description) for family in FAMILIES}


def test_a_copy_still_finds_what_lies_beside_the_original(tmp_path):
    shelf.copy("recipes", "bbh-mini", tmp_path / "mine")
    copied = recipe.load(str(tmp_path / "mine"))
    tasks, *models = inputs.open_all(copied)
    assert [task.path for task in tasks] == [RECIPES / "quickstart" / "families" / task.name for task in tasks]
    assert [model.path.name for model in models] == ["teacher", "student"]


def test_a_copy_of_a_recipe_with_all_in_its_folder_is_the_same_text(tmp_path):
    shelf.copy("recipes", "arte-bbh-gemma-2b", tmp_path)
    for path in (RECIPES / "arte-bbh-gemma-2b").rglob("*.*"):
        copied = tmp_path / "arte-bbh-gemma-2b" / path.relative_to(RECIPES / "arte-bbh-gemma-2b")
        assert copied.read_bytes() == path.read_bytes()
