"""What ships beside the code: every recipe and target loads, and the wheel holds them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgedistill import models, recipe, target, task, yaml_file

REPO = Path(__file__).resolve().parent.parent
RECIPES = sorted([*REPO.joinpath("recipes").rglob("recipe.yaml"), *REPO.joinpath("recipes").glob("*.yaml")])
TARGETS = sorted(REPO.joinpath("targets").rglob("*.yaml"))


def test_the_sweep_sees_every_file():
    """A sweep over nothing would pass."""
    task_files = sorted(REPO.joinpath("recipes").rglob("task.yaml"))
    assert len(RECIPES) + len(task_files) == len(sorted(REPO.joinpath("recipes").rglob("*.yaml")))
    assert {path.stem for path in TARGETS} >= {"rpi5", "host"}
    assert {path.parent.name for path in RECIPES} >= {
        "quickstart",
        "bbh-mini",
        "arte-bbh-gemma-2b",
        "gsm8k-qwen2.5-0.5b",
    }
    assert set(yaml_file.names("recipes").values()) == set(RECIPES)
    assert set(yaml_file.names("targets").values()) == set(TARGETS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.parent.name)
def test_shipped_recipe_loads_with_its_tasks_and_models(path):
    made = recipe.load(str(path))
    for name in made.tasks:
        found = task.load(made.folder / name, needs_items=False)
        assert found.info.prepare or len(found.seeds) >= 3
    for role, config in (("teacher", made.teacher), ("student", made.student)):
        if config.revision is None:
            assert models.resolve(config, made.folder, role).licence != "unknown"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.parent.name)
def test_shipped_recipe_opens_with_its_command(path):
    head = path.read_text().splitlines()
    assert head[0].startswith("# ")
    commands = ("#   edgedistill build --target ", "#   edgedistill arms --recipe ")
    assert any(line.startswith(commands) for line in head[:3])


@pytest.mark.parametrize("path", sorted(REPO.joinpath("recipes").rglob("task.yaml")), ids=lambda p: p.parent.name)
def test_shipped_task_loads(path):
    found = task.load(path.parent, needs_items=False)
    assert found.has_items or found.info.prepare, "a task ships with its items, or says how to make them"


@pytest.mark.parametrize("path", TARGETS, ids=lambda p: p.stem)
def test_shipped_target_loads_and_its_default_recipe_exists(path):
    made = target.load(path.stem)
    assert made.title
    recipe.load(made.default_recipe)


def test_wheel_holds_recipes_and_targets(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run([*command, str(REPO)], check=True, capture_output=True, timeout=240)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*RECIPES, *TARGETS]:
        assert f"edgedistill/{path.relative_to(REPO)}" in names
    models_here = {p.relative_to(REPO) for p in REPO.glob("recipes/quickstart/models/*/*") if p.is_file()}
    assert len(models_here) >= 10
    assert {f"edgedistill/{path}" for path in models_here} <= names
    assert "edgedistill/report/page.html.j2" in names
    assert not [name for name in names if "test_" in name or "__pycache__" in name]
