"""Recipes that cannot run here: planned and checked without a network, their sections run with tiny random models of
the same architectures. That proves that templates, prompts, options and stages fit each other, and nothing of quality.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgedistill import build, components, inputs, recipe, target, task
from edgedistill.artifacts import Draft, Preferences, Tailored
from edgedistill.cli import STAGES
from edgedistill.engine import open_engine
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_rows
from edgedistill.stages.align import align
from edgedistill.stages.distill import distill
from edgedistill.store import Stopped, Store

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
LARGE = ("arte-bbh-gemma-2b", "gsm8k-qwen2.5-0.5b")
QUESTION, RATIONALE = "What is 2 + 2?", "Two and two are four. <ans>4</ans>"


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """An empty hub cache, and an error for whoever opens a connection."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("opened a connection"))


@pytest.mark.parametrize("name", LARGE)
def test_it_is_checked_and_planned_without_a_network_or_items(name, tmp_path):
    made = recipe.load(name)
    notes = inputs.check(made)
    assert sum("will be downloaded" in note for note in notes) >= 2
    assert any(f"{len(made.tasks)} of {len(made.tasks)} tasks ship without items" in note for note in notes)
    store = Store(tmp_path / "runs", dry=True)
    build.build(store, made, target.load("host"))
    assert {step.status for step in store.steps} == {"would run"}
    assert [step.name for step in store.steps] == [stage for stage in STAGES if stage != "teach"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", LARGE)
def test_a_build_says_which_items_are_missing_and_how_to_make_them(name):
    with pytest.raises(UsageError) as caught:
        inputs.open_all(recipe.load(name, _models("./none", "./none")))
    assert "ships without its items: seeds.jsonl, validation.jsonl, test.jsonl missing in " in caught.value.problem
    assert f"edgedistill recipes copy {name} ." in caught.value.hint


def test_plan_prints_the_papers_count_and_hours(tmp_path):
    command = [sys.executable, "-m", "edgedistill", "plan", "--target", "host", "--recipe", "arte-bbh-gemma-2b"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False).stdout
    assert "920,000" in told
    assert "40,000 for each task: 1,000 drafts x 40 exam items" in told
    assert "on NVIDIA A100 SXM, 80 GB: an order of magnitude, nothing here is measured." in told
    found = subprocess.run([*command, "--accelerator", "h100-80gb", "--json"], capture_output=True, cwd=tmp_path)
    cost = json.loads(found.stdout)["cost"]
    assert cost["accelerator"]["name"] == "h100-80gb"
    assert [w["calls"] for w in cost["work"] if w["what"] == "student answers"] == [920_000]
    assert all(work["hours"]["low"] < work["hours"]["high"] for work in cost["work"])


def _models(teacher: object, student: object) -> tuple[str, ...]:
    """`--set` of both models; the recipe's pins stay and do not matter for folders."""
    return (f"teacher.model={teacher}", f"student.model={student}")


@pytest.fixture(params=LARGE)
def small(request, tiny_llama, tiny_qwen2, tiny_gemma_base):
    """The recipe with models of its architectures, and what one processor cannot do in a test set smaller."""
    teacher, student = {
        "arte-bbh-gemma-2b": (tiny_llama, tiny_gemma_base),
        "gsm8k-qwen2.5-0.5b": (tiny_qwen2, tiny_qwen2),
    }[request.param]
    return recipe.load(
        request.param,
        (
            *_models(teacher, student),
            "prefer.max_tokens=4",
            "prefer.respondents=[]",
            "align.adapter=lora",
            "align.processes=1",
            "distill.batch=4",
        ),
    )


@pytest.fixture
def made_task(small, tmp_path):
    """The recipe's first task with items of our own."""
    shipped = small.folder / small.tasks[0]
    folder = tmp_path / shipped.name
    folder.mkdir()
    (folder / "task.yaml").write_bytes((shipped / "task.yaml").read_bytes())
    for part, count in (("seeds", 3), ("validation", 4), ("test", 2)):
        rows = [{"id": f"{part}-{n}", "question": f"What is {n} + {len(part)}?", "answer": "4"} for n in range(count)]
        write_rows(folder / f"{part}.jsonl", rows)
    return task.load(folder)


def _open(small):
    """Teacher and student of the recipe; its tasks are not prepared."""
    _, teacher, student = inputs.open_all(small, may_fetch=False)
    return teacher, student


def test_its_student_sits_an_exam(small, made_task):
    _, student = _open(small)
    drafts = [Draft(f"d{n}", made_task.name, QUESTION, "4", "bare", RATIONALE) for n in range(2)]
    signal = components.load("signals", small.prefer.signal)
    with open_engine(student) as engine:
        scores = signal.score(drafts, list(made_task.validation[:2]), made_task, engine, small.prefer, lambda n: None)
    assert [score.draft_id for score in scores] == ["d0", "d1"]
    assert all(0 <= score.score <= 1 for score in scores)


def test_its_teacher_is_aligned_and_its_student_trained(small, made_task, tmp_path):
    teacher, student = _open(small)
    pair = {"task": made_task.name, "level": "rationale", "prompt": QUESTION, "margin": 0.5}
    pairs = [{**pair, "chosen": RATIONALE, "rejected": f"No idea, {n}. <ans>{n}</ans>"} for n in range(16)]
    row = {"task": made_task.name, "question": QUESTION, "answer": "4", "rationale": RATIONALE}
    rows = [{"id": f"r{n}", **row} for n in range(4)]
    for name, lines in (("pairs", pairs), ("rows", rows)):
        write_rows(tmp_path / name / f"{name}.jsonl", lines)
    aligned, tuned = tmp_path / "aligned", tmp_path / "tuned"
    aligned.mkdir()
    tuned.mkdir()
    align.function(aligned, Preferences(tmp_path / "pairs"), teacher, small.align, 0)
    distill.function(tuned, Tailored(tmp_path / "rows"), student, [made_task], *small.distill, 0)
    for folder, base in ((aligned, teacher), (tuned, student)):
        assert (folder / "model" / "chat_template.jinja").is_file()
        assert read_json(folder / "model" / "config.json")["architectures"] == [base.shape().architecture]
        assert read_json(folder / "counts.json")["rows"] > 0


def test_a_teacher_of_its_architecture_writes_drafts_for_it(tmp_path, tiny_gemma_base):
    """The embedded teacher is a Llama, too: its own family in the recipe's task, first stage whole."""
    made = recipe.load(
        "arte-bbh-gemma-2b",
        (
            *_models(RECIPES / "quickstart" / "models" / "teacher", tiny_gemma_base),
            f"tasks=[{RECIPES / 'quickstart' / 'families' / 'web_of_lies'}]",
            "prefer.exam=stratified",
            "elicit.questions=4",
            "align={batch: 2, device_batch: 1}",
            "elicit.near_duplicate=null",
        ),
    )
    store = Store(tmp_path / "runs", until="elicit")
    with pytest.raises(Stopped):
        build.build(store, made, target.load("host"))
    [step] = store.steps
    assert (step.name, step.status) == ("elicit", "ran")
    assert step.rows and step.rows <= 16


def test_the_published_math_files_become_a_task(shared, tmp_path):
    """prepare.py: marks taken out, answers after `####`, nothing of the test among seeds and validation items."""
    home = RECIPES / "gsm8k-qwen2.5-0.5b"
    spec = importlib.util.spec_from_file_location("prepare", home / "prepare.py")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    (folder / "task.yaml").write_bytes((home / "gsm8k" / "task.yaml").read_bytes())
    published = shared / "data" / "gsm8k"
    prepare.main(published / "train.jsonl.gz", published / "test.jsonl.gz", folder)
    found = task.load(folder)
    assert (len(found.seeds), len(found.validation)) == (12, 300)
    for seed in found.seeds:
        assert "<<" not in seed.rationale and seed.rationale.endswith(f"<ans>{seed.answer}</ans>")
    own = {item.question for item in (*found.seeds, *found.validation)}
    assert not own & {item.question for item in found.test}
    assert all(found.grader.is_right(item.answer, item.answer) for item in found.test)
