"""All arms on a small recipe: real stages, the embedded teacher and student, few rows.

It proves that the line holds together and shares its work; with so few rows it says nothing about alignment.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgedistill import arms as line
from edgedistill import build, cli, recipe, target, yaml_file
from edgedistill.files import read_rows
from edgedistill.store import Store

QUICKSTART = yaml_file.shipped("recipes") / "quickstart"
FAMILY = "boolean_expressions"
SMALL = {
    "title": "one family, few rows",
    "tasks": [FAMILY],
    "teacher": {"model": str(QUICKSTART / "models/teacher")},
    "student": {"model": str(QUICKSTART / "models/student")},
    "elicit": {"questions": 8, "near_duplicate": None, "max_question_tokens": 320, "max_rationale_tokens": 96},
    # The smallest gap that a pair can have: with few drafts and a short exam, pairs must not run out.
    "prefer": {"exam_size": 8, "question_pairs": 2, "min_gap": 0.01, "max_tokens": 64},
    "align": {"learning_rate": 1e-4, "batch": 2, "device_batch": 2},
    "tailor": {"rows": 8, "near_duplicate": None, "max_question_tokens": 320, "max_rationale_tokens": 96},
    "distill": {"method": "sft", "epochs": 1, "learning_rate": 1e-3, "batch": 8},
    "package": {"exporter": "gguf"},
    "arms": {"seeds": 1, "items": 6, "max_tokens": 64},
}


def small(folder: Path, **changes: Any) -> Path:
    if not (folder / FAMILY).is_dir():
        shutil.copytree(QUICKSTART / "families" / FAMILY, folder / FAMILY)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**SMALL, **changes}))
    return folder


def arms(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    given = ["--recipe", str(folder / "recipe.yaml"), "--runs", str(folder / "runs")]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run(["arms", *given, *options])
    return subprocess.CompletedProcess(options, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which all arms were run once, and their report."""
    folder = small(tmp_path_factory.mktemp("arms"))
    done = arms(folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_every_arm_is_graded_on_the_same_items_at_each_number_of_shots(compared):
    _, report = compared
    assert [line["arm"] for line in report["runs"]] == [
        "none", "original", "one-style", "rationale-only", "question-only", "arte",
    ]  # fmt: skip
    for shots in (0, 3):
        own = [line for line in report["results"] if line["shots"] == shots and line["scope"] == FAMILY]
        assert [line["n"] for line in own] == [6] * 6
        assert all(0 <= line["ci_low"] <= line["accuracy"] <= line["ci_high"] <= 1 for line in own)
    against = Counter((line["against"], line["shots"]) for line in report["differences"] if line["scope"] == FAMILY)
    assert against == {(name, shots): 5 for name in ("original", "one-style") for shots in (0, 3)}


def test_what_arms_share_is_made_once_and_all_have_the_same_number_of_rows(compared):
    _, report = compared
    assert Counter(stage["name"] for stage in report["stages"]) == {
        **dict.fromkeys(("elicit", "prefer", "align", "tailor"), 1),
        **{"choose": 2, "answer": 2, "sample": 5, "distill": 5, "grade": 6},
    }
    assert len({line["rows"] for line in report["data"]}) == 1
    assert {line["arm"] for line in report["data"]} == {line["arm"] for line in report["runs"]} - {"none"}


def test_questions_and_rationales_are_of_the_teachers_that_the_arm_names(compared):
    """rationale-only asks what original asks, question-only what arte asks; neither has the other's rationales."""
    folder, report = compared
    rows = {}
    for made in report["runs"]:
        if made["data"]:
            path = folder / "runs" / "sample" / made["data"] / "rows.jsonl"
            rows[made["arm"]] = {row["question"]: row["rationale"] for row in read_rows(path)}
    assert rows["original"].keys() == rows["rationale-only"].keys()
    assert rows["arte"].keys() == rows["question-only"].keys()
    assert not rows["arte"].keys() & rows["original"].keys()
    drafted = {row["rationale"] for row in read_rows(next((folder / "runs" / "elicit").glob("*/drafts.jsonl")))}
    assert set(rows["original"].values()) <= drafted and set(rows["one-style"].values()) <= drafted


def test_a_second_run_is_all_cached_and_a_second_report_says_the_same(compared):
    folder, report = compared
    again = json.loads(arms(folder, "--json").stdout)
    assert {stage["status"] for stage in again["stages"]} == {"cached"}
    assert (again["results"], again["differences"]) == (report["results"], report["differences"])


def test_a_build_with_the_same_seed_shares_its_first_stages(compared):
    folder, _ = compared
    store = Store(folder / "runs", dry=True)
    build.build(store, recipe.load(str(folder / "recipe.yaml")), target.load("rpi5"))
    assert [step.status for step in store.steps[:5]] == ["cached"] * 4 + ["would run"]


def test_more_runs_take_the_first_ones(compared):
    """What a second seed adds is its own line; the student as it comes is graded once for both."""
    folder, _ = compared
    store = Store(folder / "runs", dry=True)
    line.arms(store, recipe.load(str(folder / "recipe.yaml"), ("arms.seeds=2",)))
    statuses = [step.status for step in store.steps]
    assert statuses == ["cached"] * 24 + ["would run"] * 23
    assert [step.name for step in store.steps[24:28]] == ["elicit", "prefer", "align", "tailor"]


def test_fewer_arms_take_the_data_that_was_made(compared):
    folder, _ = compared
    store = Store(folder / "runs", dry=True)
    line.arms(store, recipe.load(str(folder / "recipe.yaml"), ("arms.names=[original, arte]",)))
    assert [(step.name, step.status) for step in store.steps[:6]] == [
        (name, "cached") for name in ("grade", "elicit", "prefer", "align", "tailor", "choose")
    ]
    assert len(store.steps) == 6 + 2 * 3


def test_the_report_is_on_the_screen_and_in_three_files(compared):
    folder, report = compared
    done = arms(folder)
    assert "arte minus original is" in done.stdout
    where = Path(done.stdout.strip().splitlines()[-1].split()[-1])
    assert {path.name for path in where.parent.iterdir()} == {"report.json", "report.md", "report.html"}
    assert json.loads((where.parent / "report.json").read_text())["schema"] == "edgedistill.arms/1"
    assert report["exit_code"] == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tailor": {"rows": 8, "near_duplicate": None, "check_answers": True}}, "in the aligned teacher's arms alone"),
        ({"align": None}, "has no `prefer` and `align`, and arms compare with and without them"),
        ({"arms": {"seeds": 0}}, "arms.seeds: "),
        ({"arms": {"names": ["arte", "best"]}}, "arms.names"),
        ({"arms": {"shots": [0, 13]}}, "arms.shots: task `boolean_expressions` cannot show 13 solved examples"),
        ({"arms": {"shots": [3, 3]}}, "one of them is given twice"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(tmp_path, changes, says):
    done = arms(small(tmp_path, **changes))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").rglob("*.jsonl")) if (tmp_path / "runs").is_dir() else True
