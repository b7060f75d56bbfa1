"""The teacher learns to prefer chosen answers; measured with torch alone."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgedistill.artifacts import Preferences
from edgedistill.errors import StageFailed
from edgedistill.files import read_json, read_rows, sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.sections import AlignConfig
from edgedistill.stages.align import align

PLACES = ("kitchen", "living room", "cellar", "hall", "garden", "attic")
CONFIG: dict[str, Any] = {"epochs": 4, "batch": 6, "device_batch": 3, "learning_rate": 1.0e-2}

needs_torch = pytest.mark.slow


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    """Twelve pairs of both levels; the chosen answers have a style in common."""
    pairs = [
        {
            "task": "home",
            "level": level,
            "prompt": f"{level}: light in the {place}",
            "chosen": f"Step by step. <ans>{place}</ans>",
            "rejected": f"{place}, I think, whatever",
            "margin": 0.5,
        }
        for place in PLACES
        for level in ("question", "rationale")
    ]
    return Preferences(write_rows(tmp_path / "preferences" / "pairs.jsonl", pairs).parent)


def run(out: Path, preferences: Preferences, teacher: Path, seed: int = 0, **options: Any) -> Path:
    out.mkdir(exist_ok=True)
    align.function(out, preferences, Model(teacher, ""), AlignConfig(**{**CONFIG, **options}), seed)
    return out


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def log_odds(folder: Path, preferences: Preferences) -> list[float]:
    """log p(chosen) - log p(rejected) of every pair, float32, one text at a time, text and ids made by hand."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    gemma = "<start_of_turn>" in tokenizer.get_vocab()

    def log_p(prompt: str, answer: str) -> float:
        if gemma:
            opening, end = f"<bos><start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>"
        else:
            opening, end = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"
        before = tokenizer.encode(opening, add_special_tokens=False).ids
        given = tokenizer.encode(answer + end, add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([before + given])).logits[0]
        scores = torch.log_softmax(logits, dim=-1)
        return sum(scores[len(before) + at - 1, token].item() for at, token in enumerate(given))

    return [log_p(pair.prompt, pair.chosen) - log_p(pair.prompt, pair.rejected) for pair in preferences.pairs()]


@needs_torch
@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_chosen_answers_become_likelier_than_rejected_ones(
    name: str, request: pytest.FixtureRequest, preferences: Preferences, tmp_path: Path
) -> None:
    """The loss starts at ln 2, where teacher and reference are the same model; then every pair's log-odds rise."""
    teacher: Path = request.getfixturevalue(name)
    out = run(tmp_path / "out", preferences, teacher)
    curve = list(read_rows(out / "curve.jsonl"))
    before, after = log_odds(teacher, preferences), log_odds(out / "model", preferences)
    assert len(curve) == 8
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert curve[0]["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert curve[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert all(row["kl"] >= 0 for row in curve)
    assert curve[-1]["kl"] > 1e-4
    assert all(new > old for old, new in zip(before, after, strict=True))
    assert curve[-1]["reward_accuracy"] == 1.0
    assert read_json(out / "counts.json")["rows"] == 12


@needs_torch
def test_the_reward_is_beta_times_the_rise_of_the_log_odds(
    tiny_qwen2: Path, preferences: Preferences, tmp_path: Path
) -> None:
    """Two steps over all pairs. The margin that step two reports is beta times the rise that step one brought."""
    out = run(tmp_path / "out", preferences, tiny_qwen2, epochs=2, batch=12, device_batch=12, warmup=0.0, beta=0.5)
    first, second = read_rows(out / "curve.jsonl")
    assert (first["step"], second["step"]) == (1, 2)
    assert second["reward_margin"] > 0
    before, after = log_odds(tiny_qwen2, preferences), log_odds(out / "model", preferences)
    rise = sum(new - old for old, new in zip(before, after, strict=True)) / 12
    # Step two, at half the learning rate, moved it further the same way: its share of the whole is not the larger one.
    assert 0.5 * rise * 0.4 < second["reward_margin"] < 0.5 * rise


@needs_torch
def test_what_it_leaves_is_the_teacher_with_other_linear_weights(
    tiny_qwen2: Path, preferences: Preferences, tmp_path: Path
) -> None:
    """Tokenizer, template and configs byte for byte, bf16 stays bf16, tied embeddings stay tied, no adapter is left."""
    from safetensors.torch import load_file

    out = run(tmp_path / "out", preferences, tiny_qwen2)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_qwen2, out / "model"))
    assert {name: (t.dtype, t.shape) for name, t in after.items()} == {n: (t.dtype, t.shape) for n, t in before.items()}
    assert "lm_head.weight" not in after
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {name for name in before if name.endswith("proj.weight")}
    assert set(files_of(out)) == {"counts.json", "curve.jsonl"} | {
        f"model/{path.name}" for path in tiny_qwen2.iterdir() if path.name != "README.md"
    }
    for path in (out / "model").iterdir():
        if path.suffix != ".safetensors":
            assert path.read_bytes() == (tiny_qwen2 / path.name).read_bytes(), path.name
    for path in out.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path


@needs_torch
def test_killed_and_run_again_gives_the_same_bytes(
    tiny_llama: Path, preferences: Preferences, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also shows that two runs are byte-identical: they run in different processes, one of them twice."""
    from edgedistill.ml import checkpoints

    killed = tmp_path / "killed"
    killed.mkdir()
    options = {**CONFIG, "epochs": 30, "checkpoint_steps": 2}
    code = (
        "import json, sys; from pathlib import Path; from edgedistill.artifacts import Preferences;"
        "from edgedistill.models import Model; from edgedistill.sections import AlignConfig;"
        "from edgedistill.stages.align import align;"
        "out, pairs, teacher, options = sys.argv[1:];"
        "align.function(Path(out), Preferences(Path(pairs)), Model(Path(teacher), ''),"
        " AlignConfig(**json.loads(options)), 0)"
    )
    given = [str(killed), str(preferences.path), str(tiny_llama), json.dumps(options)]
    path = os.pathsep.join(part for part in sys.path if part)
    running = subprocess.Popen([sys.executable, "-c", code, *given], env={**os.environ, "PYTHONPATH": path})
    try:
        while not checkpoints.newest(killed / "checkpoints"):
            assert running.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (killed / "curve.jsonl").exists()
    run(killed, preferences, tiny_llama, epochs=30, checkpoint_steps=2)
    assert "goes on from step" in capsys.readouterr().err
    undisturbed = run(tmp_path / "undisturbed", preferences, tiny_llama, epochs=30)
    assert files_of(killed) == files_of(undisturbed)


@needs_torch
def test_without_pairs_it_says_what_to_do(tiny_llama: Path, tmp_path: Path) -> None:
    none = Preferences(write_rows(tmp_path / "none" / "pairs.jsonl", []).parent)
    with pytest.raises(StageFailed, match="no preference pairs") as raised:
        run(tmp_path / "out", none, tiny_llama)
    assert "min_gap" in raised.value.hint
    assert "exam_size" in raised.value.hint


@needs_torch
def test_only_pairs_that_are_too_long_are_an_error(tiny_llama: Path, preferences: Preferences, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="all 12 pairs are longer"):
        run(tmp_path / "out", preferences, tiny_llama, max_tokens=16)


@needs_torch
def test_fewer_pairs_than_one_batch_are_an_error_with_numbers(
    tiny_llama: Path, preferences: Preferences, tmp_path: Path
) -> None:
    with pytest.raises(StageFailed, match="12 pairs are fewer than one batch of 16") as raised:
        run(tmp_path / "out", preferences, tiny_llama, batch=16, device_batch=8)
    assert "set `align.batch` to 8 or less" in raised.value.hint
    assert "min_gap" in raised.value.hint
    assert not (tmp_path / "out" / "model").exists()


@needs_torch
def test_pairs_that_are_too_long_do_not_fill_a_batch(
    tiny_llama: Path, preferences: Preferences, tmp_path: Path
) -> None:
    """The limit is the length of the shortest pair."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    lengths = []
    for pair in preferences.pairs():
        opening = f"<|im_start|>user\n{pair.prompt}<|im_end|>\n<|im_start|>assistant\n"
        answers = (f"{opening}{answer}<|im_end|>" for answer in (pair.chosen, pair.rejected))
        lengths.append(max(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in answers))
    limit = min(lengths)
    short = sum(length <= limit for length in lengths)
    assert short < 6
    expected = rf"{short} pairs \({12 - short} more are longer than {limit} tokens\) are fewer than one batch of 6"
    with pytest.raises(StageFailed, match=expected) as raised:
        run(tmp_path / "out", preferences, tiny_llama, max_tokens=limit)
    assert "raise `align.max_tokens`" in raised.value.hint


def test_a_batch_that_device_batches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="batch 16 is not a multiple of device_batch 5"):
        AlignConfig(device_batch=5)
    with pytest.raises(ValidationError, match="batch 16 is not a multiple of device_batch 4 times processes 3"):
        AlignConfig(processes=3)


def test_the_learning_rate_is_the_adapters_unless_given() -> None:
    assert AlignConfig().highest_rate == AlignConfig(adapter="qlora").highest_rate == 5e-6
    assert AlignConfig(adapter="full").highest_rate == 1e-7
    assert AlignConfig(adapter="full", learning_rate=2e-6).highest_rate == 2e-6


def test_the_checkpoint_interval_is_no_part_of_the_identity() -> None:
    assert AlignConfig(checkpoint_steps=5).identity() == AlignConfig().identity()
