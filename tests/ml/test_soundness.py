"""A model that is not whole is refused before it is exported, with the tensors that are at fault."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgedistill.errors import UsageError
from edgedistill.ml import soundness
from edgedistill.models import Model


@pytest.fixture
def changed(tiny_qwen2, tmp_path) -> Any:
    """(change of the tensors) -> a model with them"""

    def change(how: Any) -> Model:
        folder = shutil.copytree(tiny_qwen2, tmp_path / "model")
        tensors = load_file(folder / "model.safetensors")
        how(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return Model(folder, "key")

    return change


def refused(model: Model) -> str:
    with pytest.raises(UsageError) as error:
        soundness.check(model)
    assert error.value.exit_code == 2
    return error.value.problem


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_whole_models_pass(name, request):
    soundness.check(Model(request.getfixturevalue(name), "key"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_named_and_counted(changed, value):
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5:7] = value

    said = refused(changed(spoil))
    assert "tensor model.layers.1.mlp.up_proj.weight holds 2 NaN or infinite numbers of 49,152" in said


def test_a_missing_tensor_is_named(changed):
    said = refused(changed(lambda tensors: tensors.pop("model.layers.0.self_attn.k_proj.bias")))
    assert "tensor model.layers.0.self_attn.k_proj.bias is missing" in said


def test_a_tensor_of_another_size_is_named(changed):
    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = torch.ones(64)

    assert "tensor model.norm.weight has the shape (64,), the architecture needs (128,)" in refused(changed(shrink))


def test_an_architecture_that_transformers_does_not_know(changed):
    model = changed(lambda tensors: None)
    path: Path = model.path / "config.json"
    config = {**json.loads(path.read_text()), "model_type": "nonsense", "architectures": ["NonsenseForCausalLM"]}
    path.write_text(json.dumps(config))
    said = refused(model)
    assert "(NonsenseForCausalLM) cannot be opened" in said and "`nonsense`" in said
