"""A stated shape is the shape of the files: tensor by tensor for small models, parameter counts for published ones."""

from __future__ import annotations

import json

import pytest

from edgedistill import models, recipe, shapes
from edgedistill.sections import ShapeFacts


def facts_of(folder) -> ShapeFacts:
    """What someone would copy from config.json into a recipe."""
    config = json.loads((folder / "config.json").read_text())
    return ShapeFacts(
        architecture=config["architectures"][0],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_size=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        vocab=config["vocab_size"],
        tied=config["tie_word_embeddings"],
        attention_bias=config["architectures"] == ["Qwen2ForCausalLM"],
    )


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma_base"])
def test_a_stated_shape_equals_that_of_the_files(name, request):
    folder = request.getfixturevalue(name)
    assert shapes.stated(facts_of(folder)) == models.shape_of(folder)


@pytest.mark.parametrize(
    ("name", "role", "parameters"),
    [  # counts of the models' own pages on the hub
        ("arte-bbh-gemma-2b", "teacher", 70_553_706_496),
        ("arte-bbh-gemma-2b", "student", 2_506_172_416),
        ("gsm8k-qwen2.5-0.5b", "teacher", 7_615_616_512),
        ("gsm8k-qwen2.5-0.5b", "student", 494_032_768),
    ],
)
def test_shapes_in_shipped_recipes_have_the_published_number_of_parameters(name, role, parameters):
    stated = getattr(recipe.load(name), role).shape
    assert shapes.stated(stated).parameters == parameters


def test_an_unknown_layout_is_not_guessed(tiny_llama):
    other = facts_of(tiny_llama).model_copy(update={"architecture": "MambaForCausalLM"})
    assert shapes.stated(other) is None
