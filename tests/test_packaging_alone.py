"""A model that somebody trained already: packaged without teacher, task or training, by option or by recipe."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgedistill import build as line
from edgedistill import cli, recipe, target, versions
from edgedistill.engines import llama
from edgedistill.engines import onnx_genai as onnx_engine
from edgedistill.errors import UsageError
from edgedistill.store import Store

ALONE = ["calibrate", "package", "evaluate", "validate", "bundle"]


def asked(student: Path | str, *overrides: str, **options: Any) -> recipe.Recipe:
    return recipe.asked(None, overrides, "quickstart", student=str(student), **options)


def steps(made: recipe.Recipe, runs: Path) -> list[str]:
    """What a build of it would run."""
    store = Store(runs, dry=True)
    line.build(store, made, target.load("rpi5"))
    return [step.name for step in store.steps]


def test_only_the_packaging_stages_run(tiny_llama, tmp_path):
    made = asked(tiny_llama)
    assert (made.name, made.teacher, made.tasks, made.distill) == ("tiny-llama", None, (), ())
    assert steps(made, tmp_path) == ALONE


def test_a_recipe_without_teacher_task_and_training_works_too(tiny_llama, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: as it is\nstudent: {{model: {tiny_llama}}}\npackage: {{quants: [Q8_0]}}\n")
    assert steps(recipe.load(str(path)), tmp_path)[-3:] == ALONE[-3:]


def test_values_can_be_set_as_in_a_recipe(tiny_llama):
    made = asked(tiny_llama, "package.quants=[Q8_0]", "validate.golden_cases=30", text="words.txt")
    assert [quant.name for quant in made.package[0].quants] == ["Q8_0"]
    assert (made.validation.golden_cases, made.text.file) == (30, "words.txt")


def keys(made: recipe.Recipe, runs: Path) -> dict[str, str]:
    """Stage -> the key that a build of it would have."""
    store = Store(runs, dry=True)
    line.build(store, made, target.load("rpi5"))
    return {step.name: step.key for step in store.steps}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


def test_what_was_measured_in_another_version_of_a_runtime_is_measured_again(tiny_llama, tmp_path, monkeypatch):
    made = asked(tiny_llama, "package=[{exporter: gguf, quants: [Q8_0]}, {exporter: onnx_genai, quants: [F32]}]")
    gguf_alone = asked(tiny_llama, "package.quants=[Q8_0]")
    before, alone = keys(made, tmp_path), keys(gguf_alone, tmp_path)
    installed = versions.of_package

    def newer(name: str) -> str:
        return "99.0" if name == "onnxruntime" else installed(name)

    with monkeypatch.context() as patch:
        patch.setattr(versions, "of_package", newer)
        assert differing(before, keys(made, tmp_path)) == ["evaluate", "validate", "bundle"]
        assert differing(alone, keys(gguf_alone, tmp_path)) == [], "no candidate runs in it"
    with monkeypatch.context() as patch:
        patch.setattr(llama, "VERSION", 99)
        assert differing(alone, keys(gguf_alone, tmp_path)) == ["evaluate", "validate", "bundle"]


def test_a_search_that_was_measured_in_another_version_is_made_again(tiny_llama, tmp_path, monkeypatch):
    made = asked(tiny_llama, "package=[{exporter: onnx_genai, quants: [INT4]}]")
    before = keys(made, tmp_path)
    monkeypatch.setattr(onnx_engine, "VERSION", 99)
    assert differing(before, keys(made, tmp_path)) == ["package", "evaluate", "validate", "bundle"]


def test_a_hub_id_is_pinned_behind_an_at_sign():
    commit = "0123456789abcdef0123456789abcdef01234567"
    made = asked(f"org/name@{commit}")
    assert (made.student.model, made.student.revision, made.name) == ("org/name", commit, "name")


@pytest.mark.parametrize(
    ("student", "says"),
    [("org/name", "does not pin hub model org/name"), ("./nowhere", "does not exist")],
)
def test_a_student_that_is_not_there_is_named(student, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        steps(asked(student), tmp_path)


def test_a_model_without_template_is_refused_until_one_is_named(tiny_gemma_base, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="`--chat-template`"):
        steps(asked(tiny_gemma_base), tmp_path)
    assert steps(asked(tiny_gemma_base, chat_template="plain"), tmp_path) == ALONE


def test_options_that_contradict_each_other(tiny_llama):
    with pytest.raises(UsageError, match="--student and --recipe"):
        recipe.asked("quickstart", (), "quickstart", student=str(tiny_llama))
    with pytest.raises(UsageError, match="--text: goes with --student"):
        recipe.asked(None, (), "quickstart", text="words.txt")


def test_training_without_its_parts_is_refused(tiny_llama, tmp_path):
    for extra, says in (
        ("distill: {method: sft}", "teacher, tasks: missing"),
        ("teacher: {model: x}", "distill: missing, though teacher is given"),
    ):
        path = tmp_path / "mine.yaml"
        path.write_text(f"title: t\nstudent: {{model: {tiny_llama}}}\npackage: {{}}\n{extra}\n")
        with pytest.raises(UsageError, match=says):
            recipe.load(str(path))


def test_plan_shows_the_stages_and_whether_it_fits(tiny_llama, tmp_path, capsys):
    code = cli._run(["plan", "--target", "rpi5", "--student", str(tiny_llama), "--runs", str(tmp_path)])
    assert code == 0
    said = capsys.readouterr().out
    assert said.startswith("tiny-llama on rpi5: 5 of 5 stages would run\n") and "fits" in said


def run(folder: Path, student: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgedistill", "build", "--target", "rpi5", "--student", str(student), "--json"]
    places = ["--runs", str(folder / "runs"), "--dist", str(folder / "dist")]
    small = ["--set", "package.quants=[F16,Q8_0]", "--set", "validate.max_tokens=8", "--set", "text.tokens=512"]
    return subprocess.run([*command, *places, *small, *options], capture_output=True, text=True)


@pytest.mark.slow
def test_it_ships_with_parity_and_text_as_evidence(tiny_llama, tmp_path):
    done = run(tmp_path, tiny_llama)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [stage["name"] for stage in report["stages"]] == ALONE[1:]  # neither F16 nor Q8_0 reads a calibration
    assert report["student"] is None
    for candidate in report["candidates"]:
        assert candidate["accuracy"] is None
        assert candidate["parity"]["passed"] and candidate["parity"]["cases"] == 24
        assert 0.99 < candidate["text"]["ratio"] < 1.01
    budgets = {budget["name"]: budget["verdict"] for budget in report["budgets"]}
    assert budgets["perplexity_ratio"] == budgets["kl_mean"] == "met"
    bundle = tmp_path / "dist" / "tiny-llama-rpi5"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["lineage"]["teacher"] is None
    assert "packaged as it is" in (bundle / "MODEL_CARD.md").read_text()
    page = bundle.with_name("tiny-llama-rpi5.report.html").read_text()
    assert "perplexity ratio (95%)" in page


@pytest.mark.slow
def test_a_model_with_nan_is_named_and_leaves_no_file(tiny_llama, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    done = run(tmp_path, folder)
    assert done.returncode == 2
    assert "tensor model.norm.weight holds 1 NaN or infinite numbers of 256" in done.stderr
    assert not list(tmp_path.rglob("*.gguf"))


def test_a_folder_that_cannot_be_written_to_is_named(tiny_llama, tmp_path):
    """A file lies where the work folder should be: what happens to any user, whatever rights it has."""
    (tmp_path / "runs").write_text("")
    done = run(tmp_path, tiny_llama)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and str(tmp_path / "runs") in done.stderr
