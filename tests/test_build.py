"""The whole line on a small recipe: real stages, the embedded teacher, students of several architectures.

Slow for a test (minutes): every build here trains, converts and validates for real, only with few rows.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from edgedistill import yaml_file
from edgedistill.files import sha256_of

STAGES = ["elicit", "prefer", "align", "tailor", "distill", "package", "evaluate", "validate", "bundle"]
OF_THE_TARGET = ["validate", "bundle"]
QUICKSTART = yaml_file.shipped("recipes") / "quickstart"


def small_recipe(folder: Path, student: Path | None = None) -> Path:
    """The quickstart with few rows, in a folder of its own."""
    home = folder / "home"
    shutil.copytree(QUICKSTART / "home", home)
    for part, most in (("validation", 40), ("test", 24)):
        lines = (home / f"{part}.jsonl").read_text().splitlines(keepends=True)
        (home / f"{part}.jsonl").write_text("".join(lines[:most]))
    recipe = yaml.safe_load((QUICKSTART / "recipe.yaml").read_text())
    recipe["teacher"]["model"] = str(QUICKSTART / "models/teacher")
    recipe["student"]["model"] = str(student or QUICKSTART / "models/student")
    recipe["elicit"]["questions"] = 10
    # The smallest gap that a pair can have: with few drafts and a short exam, pairs must not run out.
    recipe["prefer"] |= {"exam_size": 16, "question_pairs": 4, "min_gap": 0.01}
    recipe["align"]["batch"] = 4
    recipe["tailor"]["rows"] = 60
    recipe["distill"] |= {"epochs": 1}
    recipe["package"] = {"exporter": "gguf", "quants": ["F16", "Q8_0"]}
    recipe["validate"] = {"max_tokens": 64}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


def command(folder: Path, *options: str, target: str = "rpi5") -> list[str]:
    given = ["--recipe", str(folder / "recipe.yaml"), "--runs", str(folder / "runs"), "--dist", str(folder / "dist")]
    return [sys.executable, "-m", "edgedistill", "build", "--target", target, *given, "--json", *options]


def build(folder: Path, *options: str, target: str = "rpi5") -> dict:
    done = subprocess.run(command(folder, *options, target=target), capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def statuses(report: dict) -> dict[str, str]:
    return {stage["name"]: stage["status"] for stage in report["stages"]}


def contents(runs: Path) -> dict[str, bytes]:
    """Every file of every whole stage folder."""
    files = [path for stage in STAGES for path in (runs / stage).rglob("*") if path.is_file()]
    return {str(p.relative_to(runs)): p.read_bytes() for p in files if p.suffix != ".lock"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the small recipe was built once, in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    small_recipe(folder)
    report = build(folder)
    assert statuses(report) == dict.fromkeys(STAGES, "ran")
    return folder


def test_second_build_is_all_cached(undisturbed: Path) -> None:
    assert statuses(build(undisturbed)) == dict.fromkeys(STAGES, "cached")


def test_second_target_runs_only_validate_and_bundle(undisturbed: Path) -> None:
    expected = {stage: "ran" if stage in OF_THE_TARGET else "cached" for stage in STAGES}
    assert statuses(build(undisturbed, target="host")) == expected


def test_the_bundle_holds_the_student_and_what_an_app_needs(undisturbed: Path) -> None:
    bundle = undisturbed / "dist" / f"{undisturbed.name}-rpi5"
    for name in ("manifest.json", "model.gguf", "chat_template.jinja", "golden.jsonl", "grammar.gbnf", "run.sh"):
        assert (bundle / name).is_file(), name


def test_damaged_files_are_reported_and_nothing_ships(undisturbed: Path, tmp_path: Path) -> None:
    """Both files say the opposite in every feed-forward layer; each keeps its size, so `package` counts as whole."""
    small_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text((undisturbed / "recipe.yaml").read_text())
    for stage in STAGES[:6]:
        shutil.copytree(undisturbed / "runs" / stage, tmp_path / "runs" / stage)
    for file in (tmp_path / "runs" / "package").glob("*/*.gguf"):
        before = sha256_of(file)
        negate_feed_forward(file)
        listed = file.with_name("candidates.jsonl")  # as an exporter would leave it that writes such files
        listed.write_text(listed.read_text().replace(before, sha256_of(file)))
    done = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "error: no candidate reproduces the float student; gguf F16: parity: case" in done.stderr
    report = json.loads(done.stdout)
    assert report["exit_code"] == 4 and report["bundle"] is None
    assert [line["chosen"] for line in report["candidates"]] == [False, False]
    reasons = [line["rejected_because"][0] for line in report["candidates"]]
    assert all("nats from the float student's" in reason for reason in reasons), reasons
    folder = tmp_path / "runs" / "reports" / report["build_id"]
    assert json.loads((folder / "report.json").read_text()) == report
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert "NOTHING TO SHIP (0 of 2 candidates)" in text and "nats from the float student" in text, name
    assert not (tmp_path / "dist").exists()


def negate_feed_forward(file: Path) -> None:
    """In place: of Q8_0, the sign of each block's scale (float16, then 32 int8); of F16, of each number."""
    from gguf import GGMLQuantizationType, GGUFReader

    tensors = [tensor for tensor in GGUFReader(file, "r+").tensors if tensor.name.endswith("ffn_down.weight")]
    assert tensors
    for tensor in tensors:
        size = 34 if tensor.tensor_type == GGMLQuantizationType.Q8_0 else 2
        numbers = tensor.data.view("uint8").reshape(-1, size)
        numbers[:, 1] ^= 0x80
        tensor.data.base.flush()


def test_changing_epochs_reruns_distill_but_not_tailor(undisturbed: Path) -> None:
    done = subprocess.run(
        [*command(undisturbed), "--set", "distill.epochs=2", "--until", "distill"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert statuses(json.loads(done.stdout)) == {**dict.fromkeys(STAGES[:4], "cached"), "distill": "ran"}


@pytest.mark.parametrize("stage", ["elicit", "prefer", "align", "tailor", "distill", "package", "evaluate"])
def test_killed_in_a_stage_a_rerun_leaves_the_same_bytes(undisturbed: Path, tmp_path: Path, stage: str) -> None:
    """Everything before the stage is copied from the undisturbed run; the stage is killed half-way, then run again."""
    small_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text((undisturbed / "recipe.yaml").read_text())
    for before in STAGES[: STAGES.index(stage)]:
        shutil.copytree(undisturbed / "runs" / before, tmp_path / "runs" / before)
    until = ["--until", stage]
    killed = subprocess.Popen(
        command(tmp_path, *until), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    _wait_for_work_in(tmp_path / "runs" / stage, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not list((tmp_path / "runs" / stage).glob("*/manifest.json")), "it was over before the kill"
    assert statuses(build(tmp_path, *until))[stage] == "ran"
    made, expected = contents(tmp_path / "runs"), contents(undisturbed / "runs")
    assert made == {name: expected[name] for name in made}
    assert any(name.startswith(stage) for name in made)


def _wait_for_work_in(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the stage has begun to write, or a moment after it has begun to work."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        partial = next(folder.glob("*.partial"), None)
        if partial and any(path.is_file() for path in partial.rglob("*")):
            return
        if partial and time.time() - partial.stat().st_ctime > 3:
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing happened in {folder}")


def test_two_builds_at_once_do_the_work_once(tmp_path: Path) -> None:
    small_recipe(tmp_path)
    both = [
        subprocess.Popen(
            command(tmp_path, "--until", "elicit"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    reports = []
    for process in both:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        reports.append(statuses(json.loads(out))["elicit"])
    assert sorted(reports) == ["cached", "ran"]


def test_interrupt_ends_with_130_and_says_what_is_kept(tmp_path: Path) -> None:
    small_recipe(tmp_path)
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for_work_in(tmp_path / "runs" / "elicit", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "kept" in errors and "Traceback" not in errors


@pytest.mark.parametrize("architecture", ["tiny_qwen2", "tiny_gemma"])
def test_students_of_other_architectures_go_the_whole_way(
    tmp_path: Path, architecture: str, request: pytest.FixtureRequest
) -> None:
    """Random weights answer nothing right; what is proven: every stage takes the architecture, and what ships is the
    trained student: the same texts, ids and answers, and distributions that only rounding moves.
    """
    small_recipe(tmp_path, student=request.getfixturevalue(architecture))
    # No student with random weights prefers anything, so the teacher stays as it is.
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    del recipe["prefer"], recipe["align"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    report = build(tmp_path)
    assert [candidate["quant"] for candidate in report["candidates"]] == ["F16", "Q8_0"]
    for candidate, kl_max in zip(report["candidates"], (0.001, 0.02), strict=True):
        parity = candidate["parity"]
        assert parity["prompt_text"] == parity["token_ids"] == parity["cases"] == 24
        assert parity["passed"], candidate["rejected_because"]
        assert parity["first_token_kl_max"] < kl_max
