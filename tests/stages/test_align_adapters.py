"""Ways of training the teacher other than a LoRA adapter in one process; measured with torch alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Preferences
from edgedistill.files import read_rows, write_rows
from edgedistill.models import Model
from edgedistill.sections import AlignConfig
from edgedistill.stages.align import align

PLACES = ("kitchen", "living room", "cellar", "hall", "garden", "attic")


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    """Six pairs; the chosen answers have a style in common."""
    pairs = [
        {
            "task": "home",
            "level": "rationale",
            "prompt": f"light in the {place}",
            "chosen": f"Step by step. <ans>{place}</ans>",
            "rejected": f"{place}, I think, whatever",
            "margin": 0.5,
        }
        for place in PLACES
    ]
    return Preferences(write_rows(tmp_path / "preferences" / "pairs.jsonl", pairs).parent)


def run(out: Path, preferences: Preferences, teacher: Path, **options: Any) -> list[dict[str, Any]]:
    """The training curve."""
    out.mkdir(exist_ok=True)
    config = AlignConfig(**{"epochs": 4, "batch": 6, "device_batch": 3, "learning_rate": 1.0e-2, **options})
    align.function(out, preferences, Model(teacher, ""), config, 0)
    return list(read_rows(out / "curve.jsonl"))


def changes(before: Path, after: Path) -> dict[str, Any]:
    """Tensor name -> what was added to it, float32."""
    from safetensors.torch import load_file

    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    return {name: new[name].float() - old[name].float() for name in old}


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["qlora", "full"])
def test_it_learns_and_tells_how_far_it_moved(
    adapter: str, tiny_llama: Path, preferences: Preferences, tmp_path: Path
) -> None:
    """Teacher and reference begin as the same model: loss ln 2, margin 0, distance 0."""
    options = {"learning_rate": 1.0e-3} if adapter == "full" else {}
    curve = run(tmp_path / "out", preferences, tiny_llama, adapter=adapter, **options)
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert curve[0]["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert curve[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert curve[-1]["reward_margin"] > 0.1
    assert curve[-1]["kl"] > 1e-4


@pytest.mark.slow
def test_all_weights_learn_when_there_is_no_adapter(tiny_llama: Path, preferences: Preferences, tmp_path: Path) -> None:
    run(tmp_path / "out", preferences, tiny_llama, adapter="full", learning_rate=1.0e-3, epochs=2)
    moved = {name for name, change in changes(tiny_llama, tmp_path / "out" / "model").items() if change.any()}
    assert "model.embed_tokens.weight" in moved
    assert "lm_head.weight" in moved


@pytest.mark.slow
def test_the_adapter_of_a_4_bit_teacher_goes_into_its_full_weights(
    tiny_llama: Path, preferences: Preferences, tmp_path: Path
) -> None:
    """What is added has the adapter's rank. The rounding of 4 bits would have full rank, and a size of its own."""
    import torch

    run(tmp_path / "out", preferences, tiny_llama, adapter="qlora", lora_rank=2, epochs=2)
    added = changes(tiny_llama, tmp_path / "out" / "model")["model.layers.0.mlp.up_proj.weight"]
    sizes = torch.linalg.svdvals(added)
    assert sizes[1] > 10 * sizes[2]  # beyond rank 2 only what bfloat16 rounds


@pytest.mark.slow
@pytest.mark.timeout(900)  # three interpreters load torch side by side
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_two_processes_learn_what_one_learns(
    adapter: str, tiny_qwen2: Path, preferences: Preferences, tmp_path: Path
) -> None:
    """Halves of each batch in two processes give the steps that the whole batch gives in one, but for rounding."""
    options: dict[str, Any] = {"adapter": adapter, "learning_rate": 1.0e-3, "epochs": 2}
    one = run(tmp_path / "one", preferences, tiny_qwen2, device_batch=6, **options)
    two = run(tmp_path / "two", preferences, tiny_qwen2, device_batch=3, processes=2, **options)
    assert [row["step"] for row in two] == [1, 2]
    for ours, theirs in zip(two, one, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-2, abs=1e-5)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"counts.json", "curve.jsonl", "model"}
