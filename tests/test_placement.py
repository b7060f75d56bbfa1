"""Where weights go, by hand: Llama-3-70B as the shipped recipe states it, on machines with 80 GiB GPUs."""

from __future__ import annotations

import pytest

from edgedistill import placement, recipe, shapes
from edgedistill.errors import UsageError
from edgedistill.models import Loading, Model, Shape
from edgedistill.placement import GIB, Machine, Weights

LINEAR = 80 * (2 * 8192 * 8192 + 2 * 1024 * 8192 + 3 * 28672 * 8192)
EMBEDDING = 128256 * 8192
NORMS = (2 * 80 + 1) * 8192
"""Weights of Llama-3-70B: in linear layers, in the embedding and as many in the head, and beside them."""
TRAINED = {"share": 0.6, "may_offload": False}


@pytest.fixture(scope="module")
def llama_70b() -> Shape:
    facts = recipe.load("arte-bbh-gemma-2b").teacher.shape
    assert facts is not None
    shape = shapes.stated(facts)
    assert shape is not None
    return shape


def test_the_bytes_of_a_70b_model_by_hand(llama_70b: Shape) -> None:
    """131.4 GiB in bfloat16; 36.8 GiB when the linear layers are NF4: 4 bits, 8 of scale for 64, 32 for 256 scales."""
    whole = placement.weights_of("llama", llama_70b, "bfloat16", is_4bit=False)
    assert whole.size == 2 * (LINEAR + 2 * EMBEDDING + NORMS)
    assert whole.block == 2 * EMBEDDING
    assert whole.size / GIB == pytest.approx(131.4, abs=0.05)
    in_4bit = placement.weights_of("llama", llama_70b, "bfloat16", is_4bit=True)
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    assert in_4bit.size == pytest.approx(LINEAR * bits / 8 + 2 * (2 * EMBEDDING + NORMS), abs=1)
    assert in_4bit.size / GIB == pytest.approx(36.8, abs=0.05)


def test_training_all_weights_takes_16_bytes_of_each(llama_70b: Shape) -> None:
    made = placement.trained("llama", llama_70b, "full")
    assert made.size == 16 * (LINEAR + 2 * EMBEDDING + NORMS)
    assert placement.trained("llama", llama_70b, "lora").size == 2 * (LINEAR + 2 * EMBEDDING + NORMS)


def test_two_gpus_get_the_model_and_keep_room_for_keys_and_values() -> None:
    """120 GiB in layers of 2 GiB, on GPUs of which 85% is for weights: 68 GiB each, with 2 GiB lost at each border."""
    weights = Weights("teacher in bfloat16", 120 * GIB, 2 * GIB)
    room = int(80 * GIB * 0.85)
    two = Machine((80 * GIB, 80 * GIB), 500 * GIB)
    assert placement.spread(weights, two) == {"device_map": "auto", "max_memory": {0: room, 1: room}}


def test_what_gpus_cannot_hold_goes_to_main_memory() -> None:
    weights = Weights("teacher in bfloat16", 140 * GIB, 2 * GIB)
    machine = Machine((80 * GIB, 80 * GIB), 100 * GIB)
    assert placement.spread(weights, machine)["max_memory"]["cpu"] == 90 * GIB


@pytest.mark.parametrize(
    ("weights", "options", "told"),
    [
        (Weights("teacher", 300 * GIB, 2 * GIB), {}, "takes 300 GiB; 2 GPUs have 132 GiB and the main memory 9"),
        (Weights("teacher", 140 * GIB, GIB, is_4bit=True), {}, "takes 140 GiB; 2 GPUs have 134 GiB free for weights"),
        (Weights("teacher", 120 * GIB, GIB), TRAINED, "takes 120 GiB; 2 GPUs have 94 GiB free"),
    ],
)
def test_what_fits_nowhere_is_refused_with_the_gib(weights: Weights, options: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        placement.spread(weights, Machine((80 * GIB, 80 * GIB), 10 * GIB), **options)  # type: ignore[arg-type]
    assert told in caught.value.problem


def test_without_a_device_map_one_gpu_holds_all_or_says_why_not() -> None:
    two = Machine((40 * GIB, 80 * GIB), GIB)
    weights = Weights("teacher in bfloat16", 60 * GIB, GIB, hint="or less")
    assert placement.on_one(weights, two, 1) == {"device_map": {"": "cuda:1"}}
    with pytest.raises(UsageError) as caught:
        placement.on_one(weights, two)
    assert caught.value.problem == "teacher in bfloat16 takes 60 GiB; GPU 0 has 40 GiB free"
    assert caught.value.hint == "or less"


def test_without_a_gpu_the_main_memory_must_hold_it() -> None:
    machine = Machine((), 4 * GIB)
    for place in (placement.on_one, placement.spread):
        assert place(Weights("student in float32", 3 * GIB, GIB), machine) == {"device_map": {"": "cpu"}}
        with pytest.raises(UsageError, match=r"takes 5\.0 GiB; the main memory has 4\.0 GiB free"):
            place(Weights("student in float32", 5 * GIB, GIB), machine)


def test_types_follow_the_machine_unless_the_recipe_says() -> None:
    assert placement.dtype_of(Loading(), has_gpu=False) == "float32"
    assert placement.dtype_of(Loading(), has_gpu=True) == "bfloat16"
    assert placement.dtype_of(Loading(dtype="float16"), has_gpu=True) == "float16"


def test_only_what_changes_answers_is_part_of_a_models_identity(tiny_llama) -> None:
    plain, spread, in_4bit, half = (
        Model(tiny_llama, "k", loading=loading).identity()
        for loading in (Loading(), Loading(device_map="auto"), Loading(load_in_4bit=True), Loading(dtype="float16"))
    )
    assert plain == spread
    assert in_4bit == {**plain, "load_in_4bit": True}
    assert half == {**plain, "dtype": "float16"}
