"""Methods, ways of pairing and signals on a small recipe: real stages, the embedded teacher and student, few rows.

It proves that the line holds together and shares its work; with so few rows it says nothing about who is better.
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

from edgedistill import cli, contest, method_arms, recipe, yaml_file
from edgedistill.files import read_rows
from edgedistill.store import Store

pytestmark = pytest.mark.timeout(900)  # all arms once: half a minute on an idle core, many on a busy one

QUICKSTART = yaml_file.shipped("recipes") / "quickstart"
FAMILY = "boolean_expressions"
SMALL: dict[str, Any] = {
    "title": "one family, few rows",
    "tasks": [FAMILY],
    "teacher": {"model": str(QUICKSTART / "models/teacher")},
    "student": {"model": str(QUICKSTART / "models/student")},
    "elicit": {"questions": 8, "near_duplicate": None, "max_question_tokens": 320, "max_rationale_tokens": 96},
    # The smallest gap that a pair can have: with few drafts and a short exam, pairs must not run out.
    "prefer": {"signal": "answer_loglik", "exam_size": 8, "question_pairs": 2, "min_gap": 0.001},
    "align": {"learning_rate": 1e-4, "batch": 2, "device_batch": 2},
    "tailor": {"rows": 8, "near_duplicate": None, "max_question_tokens": 320, "max_rationale_tokens": 96},
    "distill": {"method": "sft", "epochs": 2, "learning_rate": 1e-3, "batch": 4},
    "package": {"exporter": "gguf"},
    "methods": {
        "seeds": 1, "methods": ["sft", "topk_kd"], "pairs": ["plain", "margin"],
        "signals": ["answer_loglik", "influence"],
        "rows": 8, "items": 6, "max_tokens": 48, "groups": 3, "group_size": 2, "group_epochs": 1,
    },
}  # fmt: skip


def small(folder: Path, **changes: Any) -> Path:
    if not (folder / FAMILY).is_dir():
        shutil.copytree(QUICKSTART / "families" / FAMILY, folder / FAMILY)
        validation = folder / FAMILY / "validation.jsonl"
        validation.write_text("".join(validation.read_text().splitlines(keepends=True)[:20]))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**SMALL, **changes}))
    return folder


def methods(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    given = ["--recipe", str(folder / "recipe.yaml"), "--runs", str(folder / "runs")]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run(["methods", *given, *options])
    return subprocess.CompletedProcess(options, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which all was run once, with five more test items, and the report."""
    folder = small(tmp_path_factory.mktemp("methods"))
    own = list(read_rows(folder / FAMILY / "validation.jsonl"))[-5:]
    (folder / "others").mkdir()
    examples = [{"input": row["question"], "target": row["answer"]} for row in own]
    (folder / "others" / f"{FAMILY}.json").write_text(json.dumps({"examples": examples}))
    done = methods(folder, "--test-items", str(folder / "others"), "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.slow
def test_every_arm_is_graded_on_both_sets_of_items_and_held_against_the_first_of_its_table(compared: Any) -> None:
    _, report = compared
    assert report["items"] == {"test items": 6, "others": 5}
    arms = {name: [r["arm"] for r in report["results"] if (r["table"], r["items"]) == (name, "others")]
            for name in ("methods", "pairs", "signals")}  # fmt: skip
    assert arms == {
        "methods": ["sft", "topk_kd"], "pairs": ["plain", "margin"], "signals": ["answer_loglik", "influence"],
    }  # fmt: skip
    assert {(d["table"], d["against"]) for d in report["differences"]} == {
        ("methods", "sft"), ("pairs", "plain"), ("signals", "answer_loglik"),
    }  # fmt: skip
    assert all(r["ci_low"] <= r["accuracy"] <= r["ci_high"] for r in report["results"])


@pytest.mark.slow
def test_costs_are_measured_and_methods_read_like_many_tokens(compared: Any) -> None:
    _, report = compared
    assert all(c["runs"] == 1 and c["seconds"] > 0 and c["cpu_seconds"] > 0 for c in report["costs"])
    assert all(c["peak_mib"] is None or c["peak_mib"] > 100 for c in report["costs"])
    sft, cached = (c["student_tokens"] for c in report["costs"] if c["table"] == "methods")
    assert sft == cached > 0, "both learn from the same rows"
    assert [c["token_ratio"] for c in report["costs"] if c["table"] == "methods"] == [1.0, 1.0]


@pytest.mark.slow
def test_signals_score_the_same_drafts_and_are_held_against_what_was_gained(compared: Any) -> None:
    folder, report = compared
    (agreement,) = report["agreement"]
    assert (agreement["signal"], agreement["other"]) == ("answer_loglik", "influence")
    drafts = {row["id"] for row in read_rows(next((folder / "runs/elicit").glob("*/drafts.jsonl")))}
    assert 0 < agreement["drafts"] <= len(drafts)
    assert Counter(p["signal"] for p in report["prediction"]) == {"answer_loglik": 2, "influence": 2}
    (gains,) = (folder / "runs/gain").glob("*/gains.jsonl")
    groups = [row["drafts"] for row in read_rows(gains)]
    assert [len(group) for group in groups] == [2, 2, 2]
    assert len({name for group in groups for name in group} & drafts) == 6


@pytest.mark.slow
def test_drafts_and_scores_are_made_once_for_all_tables(compared: Any) -> None:
    """One elicitation; one rating per signal, the recipe's own among them; one alignment per distinct set of pairs."""
    _, report = compared
    names = Counter(stage["name"] for stage in report["stages"])
    assert (names["elicit"], names["rate"], names["gain"], names["teach"]) == (1, 2, 1, 1)
    assert names["pair"] == names["align"] == 4


@pytest.mark.slow
def test_a_second_run_is_all_cached_and_knows_the_costs_of_the_first(compared: Any) -> None:
    folder, report = compared
    again = json.loads(methods(folder, "--test-items", str(folder / "others"), "--json").stdout)
    assert {stage["status"] for stage in again["stages"]} == {"cached"}
    assert again["results"] == report["results"] and again["costs"] == report["costs"]


@pytest.mark.slow
def test_the_report_is_on_the_screen_and_in_three_files(compared: Any) -> None:
    folder, _ = compared
    done = methods(folder, "--test-items", str(folder / "others"))
    where = Path(done.stdout.strip().splitlines()[-1].split()[-1])
    assert {path.name for path in where.parent.iterdir()} == {"report.json", "report.md", "report.html"}
    assert "minus plain (95%)" in done.stdout and "does what they say of a group of drafts come true" in done.stdout
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli._run(["report", str(where.parent), "--runs", str(folder / "runs")]) == 0
    assert "minus plain (95%)" in out.getvalue()


@pytest.mark.slow
def test_a_table_that_is_left_out_leaves_the_others_in_the_store(compared: Any) -> None:
    folder, _ = compared
    store = Store(folder / "runs", dry=True)
    contest.contest(store, recipe.load(str(folder / "recipe.yaml"), ("methods.methods=[]", "methods.signals=[]")))
    assert {step.status for step in store.steps} == {"cached"}
    assert "gain" not in {step.name for step in store.steps}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"align": None}, "has no `prefer` and `align`, and ways of pairing and signals are compared by them"),
        ({"methods": {"signals": ["infuence"]}}, "no signal named `infuence`"),
        ({"methods": {"pairs": ["plain", "plain"]}}, "one of them is given twice"),
        ({"methods": {"methods": ["magic"]}}, "methods.methods"),
        ({"methods": {"methods": ["sft"], "options": {"sft": {"epoch": 1}}}}, "has no option `epoch`"),
        ({"methods": {"methods": ["dpo"], "options": {"dpo": {"beta": -1}}}}, "arm `dpo`: beta"),
        (
            {"methods": {"methods": ["sft"], "options": {"sft": {"method": "dpo"}}}},
            "`method` makes arm `sft`",
        ),
        ({"methods": {"methods": ["pad-ppd"], "options": {"pad-ppd": {"loss": "vpd"}}}}, "`loss` makes arm `pad-ppd`"),
        ({"methods": {"methods": ["sft"], "options": {"pad_ppd": {"alpha": 0}}}}, "did you mean `pad-ppd`?"),
        (
            {"align": None, "prefer": None, "methods": {"pairs": [], "signals": []}},
            "`several-teachers` has one teacher",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    done = methods(small(tmp_path, **changes))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_methods_read_like_many_tokens_and_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """`pad-ppd` wants 4 different responses where its temperature leaves one."""
    options = {
        "pad-ppd": {"alpha": 1.0, "temperature": 1e-6},
        "dpo": {"max_answer_tokens": 48},
        "on_policy": {"max_answer_tokens": 48},
    }
    few = {"pairs": [], "signals": [], "rows": 16, "options": options}
    asked = {**SMALL["methods"], **few, "methods": ["sft", "pad-ppd", "dpo", "on_policy"]}
    done = methods(small(tmp_path, methods=asked), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [line["arm"] for line in report["results"]] == ["sft", "dpo", "on_policy"]
    (failure,) = report["failures"]
    assert (failure["table"], failure["arm"], failure["seed"]) == ("methods", "pad-ppd", 0)
    assert "4 different responses" in failure["reason"] and any("pad-ppd" in line for line in report["answer"])
    ratios = {line["arm"]: line["token_ratio"] for line in report["costs"]}
    # Sixteen rows are few: one row more or less of an arm is 6%.
    assert ratios["sft"] == 1 and all(0.85 < ratios[arm] < 1.15 for arm in ("dpo", "on_policy")), ratios
    assert "seed 1 of 1, arm 3 of 4: method dpo; about" in done.stderr


def test_a_recipe_that_learns_preferences_keeps_its_own_rate(tmp_path: Path) -> None:
    """A tenth of the rate is for recipes that name the rate of another kind of method."""
    distill = {"method": "dpo", "learning_rate": 2e-5}
    made = recipe.load(str(small(tmp_path, distill=distill) / "recipe.yaml"))
    (step,) = method_arms.trainings(made, "pad-vpd")
    assert step.config.learning_rate == 2e-5  # type: ignore[attr-defined]


def test_the_teachers_answers_pass_the_check_that_the_rows_passed(tmp_path: Path) -> None:
    tailor = {**SMALL["tailor"], "check_answers": True}
    made = recipe.load(str(small(tmp_path, tailor=tailor) / "recipe.yaml"))
    for arm in ("seqkd", method_arms.SEVERAL):
        (step,) = method_arms.trainings(made, arm)
        assert step.config.check_answers and step.config.attempts == 4  # type: ignore[attr-defined]


def test_every_arm_is_trained_held_against_others_and_explained_under_one_name() -> None:
    from typing import get_args

    from edgedistill.comparison_sections import MethodArm, PairArm
    from edgedistill.report.methods import words
    from edgedistill.stages.distill import LEFT_OUT

    assert set(get_args(MethodArm)) == set(method_arms.TRAINED_WITH)
    assert set(get_args(PairArm)) == set(method_arms.PAIRED_WITH)
    assert {*get_args(MethodArm), *get_args(PairArm)} <= set(words.ORIGIN)
    held = method_arms.HELD_AGAINST
    assert {*held, *(other for own in held.values() for other in own)} <= set(get_args(MethodArm))
    assert words.LEFT_OUT.keys() == LEFT_OUT.keys()


def test_an_arm_takes_the_recipes_options_and_as_many_rows_as_its_sequences_leave(tmp_path: Path) -> None:
    """Two passes over 80 rows, four rows a step. Four responses to a prompt leave 20 prompts, one a step; half of the
    tokens each for two methods; four passes leave half of the rows. Preferences are learned at a tenth of the rate."""
    options = {"pad-ppd": {"alpha": 1.0}, "dpo": {"epochs": 4}}
    changed = {**SMALL["methods"], "rows": 80, "options": options}
    made = recipe.load(str(small(tmp_path, methods=changed) / "recipe.yaml"))
    steps = {arm: method_arms.trainings(made, arm) for arm in method_arms.TRAINED_WITH}
    found = {arm: [(s.rows, s.config.epochs, s.config.batch, s.config.learning_rate) for s in own]  # type: ignore[attr-defined]
             for arm, own in steps.items()}  # fmt: skip
    assert found["sft"] == found["topk_kd"] == [(80, 2, 4, 1e-3)]
    assert found["pad-ppd"] == [(20, 2, 1, pytest.approx(1e-4))]
    assert found["dpo"] == [(20, 4, 2, pytest.approx(1e-4))]
    assert found["sft+pad"] == [(40, 2, 4, 1e-3), (10, 2, 1, pytest.approx(1e-4))]
    assert steps["pad-ppd"][0].config.alpha == 1.0  # type: ignore[attr-defined]


def test_all_signals_share_exam_and_pairing(tmp_path: Path) -> None:
    made = recipe.load(str(small(tmp_path) / "recipe.yaml"))
    configs = [method_arms.signal_config(made, name) for name in ("icl_accuracy", "answer_loglik", "influence")]
    assert {(c.exam_size, c.question_pairs, c.min_gap, c.ties) for c in configs} == {(8, 2, 0.0, "drop")}
    assert configs[2].learning_rate == 1e-3, "of the student's training"  # type: ignore[attr-defined]
