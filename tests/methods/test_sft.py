"""Supervised fine-tuning of tiny random models, checked with torch alone."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from edgedistill.errors import StageFailed
from edgedistill.files import read_rows, sha256_of
from edgedistill.methods import sft
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt

if TYPE_CHECKING:
    from edgedistill.ml.turns import Turn

ROWS = [
    (plain_prompt("Home.", f"turn {way} the light in the {place}"), f"light {way}. <ans>{place} {way}</ans>")
    for way in ("on", "off", "up", "down")
    for place in ("kitchen", "living room", "cellar")
]
QUICK: dict[str, Any] = {"method": "sft", "epochs": 2, "batch": 4, "learning_rate": 1.0e-3}

needs_torch = pytest.mark.slow


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def student_turns(folder: Path) -> list[Turn]:
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(folder)
    return list(turns(tokenizer, end_ids(folder, tokenizer), ROWS))


def mean_loss(folder: Path) -> float:
    """Mean cost of ROWS' answer tokens in nats, float32, row by row."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    costs = []
    for turn in student_turns(folder):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([turn.input_ids])).logits[0]
        log_probs = torch.log_softmax(logits, dim=-1)
        start = len(turn.prompt_ids)
        costs += [-log_probs[start + at - 1, token].item() for at, token in enumerate(turn.completion_ids)]
    return sum(costs) / len(costs)


@needs_torch
@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_first_loss_is_the_mean_cost_of_the_answers_and_training_lowers_it(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """All rows are in one batch, so the first loss is that of the base model on the answer tokens alone."""
    student = Model(request.getfixturevalue(name), "")
    config = sft.Config(**{**QUICK, "batch": 12, "epochs": 6})
    counts = sft.train(tmp_path, ROWS, student, config, 0)
    curve = list(read_rows(tmp_path / "curve.jsonl"))
    read = 6 * sum(len(turn.input_ids) for turn in student_turns(student.path))
    assert counts == {"rows": 12, "too_long": 0, "steps": 6, "tokens": read}
    assert curve[0]["loss"] == pytest.approx(mean_loss(student.path), rel=0.03)  # bfloat16 products
    assert mean_loss(tmp_path / "model") < 0.9 * mean_loss(student.path)
    assert [row["step"] for row in curve] == [1, 2, 3, 4, 5, 6]


@needs_torch
def test_small_pieces_of_a_batch_learn_the_same(tiny_qwen2: Path, tmp_path: Path) -> None:
    """The loss of a step is the mean over all its answer tokens, however they are cut into pieces."""
    student = Model(tiny_qwen2, "")
    for name, piece in (("whole", None), ("pieces", 4)):
        config = sft.Config(**{**QUICK, "batch": 12, "device_batch": piece})
        (tmp_path / name).mkdir()
        sft.train(tmp_path / name, ROWS, student, config, 0)
    whole, pieces = (list(read_rows(tmp_path / name / "curve.jsonl")) for name in ("whole", "pieces"))
    assert len(whole) == len(pieces) == 2
    assert pieces[0]["loss"] == pytest.approx(whole[0]["loss"], rel=0.005)
    assert pieces[0]["grad_norm"] == pytest.approx(whole[0]["grad_norm"], rel=0.02)


@needs_torch
def test_the_student_learns_to_answer_and_to_stop(tiny_qwen2: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = ROWS[:3]
    config = sft.Config(**{**QUICK, "batch": 3, "epochs": 60, "learning_rate": 5.0e-3})
    sft.train(tmp_path, rows, Model(tiny_qwen2, ""), config, 0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for prompt, answer in rows:
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        asked = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        given = model.generate(**asked, max_new_tokens=80, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(given) == f"{answer}<|im_end|>"


@needs_torch
def test_an_adapter_is_merged_and_leaves_the_embedding_alone(tiny_qwen2: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    sft.train(tmp_path, ROWS, Model(tiny_qwen2, ""), sft.Config(**QUICK, lora_rank=4), 0)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_qwen2, tmp_path / "model"))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert before.keys() == after.keys()
    assert changed
    assert all(name.endswith("proj.weight") for name in changed)


@needs_torch
def test_two_runs_are_byte_identical_and_another_seed_is_not(tiny_llama: Path, tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        sft.train(tmp_path / name, ROWS, Model(tiny_llama, ""), sft.Config(**QUICK), seed)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    assert files_of(tmp_path / "first") != files_of(tmp_path / "other")
    assert {path.split("/")[0] for path in files_of(tmp_path / "first")} == {"model", "curve.jsonl"}
    for path in (tmp_path / "first").rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path


@needs_torch
@pytest.mark.parametrize(("name", "lora_rank"), [("tiny_qwen2", None), ("tiny_llama", 4)])
def test_killed_and_run_again_gives_the_same_bytes(
    name: str,
    lora_rank: int | None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGKILL after some checkpoint; a torn newer one lies beside it. The rerun goes on from the whole one."""
    student: Path = request.getfixturevalue(name)
    options = {**QUICK, "epochs": 20, "lora_rank": lora_rank}
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    killed.mkdir()
    undisturbed.mkdir()
    step = kill_in_the_middle(killed, student, options)
    torn = killed / "checkpoints" / f"checkpoint-{step + 1000}"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    sft.train(killed, ROWS, Model(student, ""), sft.Config(**options, checkpoint_steps=7), 0)
    assert f"goes on from step {step} of 60" in capsys.readouterr().err
    sft.train(undisturbed, ROWS, Model(student, ""), sft.Config(**options), 0)
    assert files_of(killed) == files_of(undisturbed)


def kill_in_the_middle(out: Path, student: Path, options: dict[str, Any]) -> int:
    """Train in a process of its own, kill it once a checkpoint is whole; returns the step of the newest one."""
    from edgedistill.ml import checkpoints

    code = (
        "import json, sys; from pathlib import Path; from edgedistill.methods import sft;"
        "from edgedistill.models import Model;"
        "out, student, rows, options = sys.argv[1:];"
        "sft.train(Path(out), [tuple(row) for row in json.loads(rows)], Model(Path(student), ''),"
        " sft.Config(**json.loads(options)), 0)"
    )
    given = [str(out), str(student), json.dumps(ROWS), json.dumps({**options, "checkpoint_steps": 2})]
    path = os.pathsep.join(part for part in sys.path if part)
    running = subprocess.Popen([sys.executable, "-c", code, *given], env={**os.environ, "PYTHONPATH": path})
    try:
        while not checkpoints.newest(out / "checkpoints"):
            assert running.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (out / "curve.jsonl").exists()
    found = checkpoints.newest(out / "checkpoints")
    assert found is not None
    return checkpoints.step_of(found)


@needs_torch
def test_rows_that_are_too_long_are_left_out_and_counted(tiny_llama: Path, tmp_path: Path) -> None:
    long = ("Say it.", "again " * 400)
    counts = sft.train(tmp_path, [*ROWS, long], Model(tiny_llama, ""), sft.Config(**QUICK, max_tokens=300), 0)
    assert (counts["rows"], counts["too_long"]) == (12, 1)


@needs_torch
def test_only_rows_that_are_too_long_are_an_error(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="longer than 16 tokens") as raised:
        sft.train(tmp_path, ROWS, Model(tiny_llama, ""), sft.Config(**QUICK, max_tokens=16), 0)
    assert "max_tokens" in raised.value.hint


@needs_torch
def test_a_loss_that_is_not_a_number_stops_the_training(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="loss is") as raised:
        config = sft.Config(**{**QUICK, "epochs": 30, "learning_rate": 1.0e30})
        sft.train(tmp_path, ROWS, Model(tiny_llama, ""), config, 0)
    assert "learning rate" in raised.value.hint


@needs_torch
def test_nothing_but_progress_is_printed(
    tiny_llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    sft.train(tmp_path, ROWS, Model(tiny_llama, ""), sft.Config(**QUICK), 0)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert all(line.startswith("  distill") for line in printed.err.splitlines())
    assert [str(warning.message) for warning in recwarn] == []


def test_settings_of_the_paper_are_the_defaults() -> None:
    config = sft.Config()
    assert (config.epochs, config.learning_rate, config.warmup) == (1, 2e-5, 0.03)


def test_the_checkpoint_interval_is_no_part_of_the_identity() -> None:
    assert sft.Config(checkpoint_steps=5).identity() == sft.Config().identity()
    assert sft.Config(device_batch=4).identity() != sft.Config().identity()
    assert math.isclose(sft.Config().identity()["learning_rate"], 2e-5)


def test_a_batch_that_device_batches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="batch 16 is not a multiple of device_batch 5"):
        sft.Config(device_batch=5)
