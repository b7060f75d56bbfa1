"""What stands in the folder of a trained model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgedistill.errors import StageFailed
from edgedistill.models import ALLOWED, Model, check

pytestmark = pytest.mark.slow


def stored(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensor -> type and size, by the safetensors library."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
        return {name: (found.get_dtype(), tuple(found.get_shape())) for name, found in slices.items()}


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_saved_model_differs_from_its_base_in_numbers_only(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Names, sizes, types, tied embeddings and other files are the base's. Float32 in memory leaves bf16 on disk."""
    import torch

    from edgedistill.ml import weights

    base = Model(request.getfixturevalue(name), "")
    loaded = weights.load(base, torch.float32, 100)
    loaded.config.pad_token_id = 7  # trainers write into it
    with torch.no_grad():
        loaded.get_input_embeddings().weight.add_(1.0)
    weights.save(loaded, base, tmp_path / "model")
    assert stored(tmp_path / "model") == stored(base.path)
    assert {kind for kind, _ in stored(tmp_path / "model").values()} == {"BF16"}
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {path.name for path in base.path.iterdir() if path.name in ALLOWED} | {"model.safetensors"}
    for other in names - {"model.safetensors"}:
        assert (tmp_path / "model" / other).read_bytes() == (base.path / other).read_bytes(), other
    check(tmp_path / "model", "student")
    again = weights.load(Model(tmp_path / "model", ""), torch.float32, 100)
    assert torch.equal(
        again.get_input_embeddings().weight, loaded.get_input_embeddings().weight.to(torch.bfloat16).float()
    )


def test_types_are_kept_tensor_by_tensor(tiny_llama: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from edgedistill.ml import weights

    mixed = shutil.copytree(tiny_llama, tmp_path / "mixed")
    tensors = load_file(mixed / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    save_file(tensors, mixed / "model.safetensors", metadata={"format": "pt"})
    base = Model(mixed, "")
    weights.save(weights.load(base, torch.float32, 100), base, tmp_path / "model")
    assert stored(tmp_path / "model") == stored(mixed)


def test_weights_of_another_shape_are_refused(tiny_llama: Path, tiny_qwen2: Path, tmp_path: Path) -> None:
    import torch

    from edgedistill.ml import weights

    other = weights.load(Model(tiny_qwen2, ""), torch.float32, 100)
    with pytest.raises(StageFailed, match="do not match"):
        weights.save(other, Model(tiny_llama, ""), tmp_path / "model")
