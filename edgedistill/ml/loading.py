"""A model in memory, for generating and scoring: on one device or over several, in 4 bits where the recipe says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from edgedistill import placement
from edgedistill.errors import UsageError
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.placement import Machine


def machine() -> Machine:
    """What is free here and now."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(tuple(torch.cuda.mem_get_info(gpu)[0] for gpu in range(gpus)), psutil.virtual_memory().available)


def load(model: Model) -> Any:
    """As the model's recipe says. Nothing in its folder is run: no remote code, no pickle.

    Raises   UsageError when the weights do not fit, with the GiB that they take and that are free
    """
    here, how = machine(), model.loading
    dtype = placement.dtype_of(how, bool(here.gpus))
    weights = placement.weights_of(model.name or str(model.path), model.shape(), dtype, how.load_in_4bit)
    placed = placement.spread(weights, here) if how.device_map else placement.on_one(weights, here)
    loaded = opened(model.path, getattr(torch, dtype), placed, is_4bit=how.load_in_4bit)
    places = list(_device_map(loaded).values())
    if "disk" in places:
        raise UsageError(f"{weights.what} takes {placement.gib(weights.size)}, more than is free", weights.hint)
    if here.gpus and "cpu" in places:
        say(
            f"  {weights.what}: {places.count('cpu')} of {len(places)} parts stay in main memory and go to a GPU at"
            " every step, which is slow"
        )
    return loaded


def opened(path: Path, dtype: torch.dtype, placed: dict[str, Any], *, is_4bit: bool = False) -> Any:
    """The weights where `placed` says, which are keyword arguments of `from_pretrained`."""
    transformers_logging.disable_progress_bar()  # its bar for loading weights would break ours
    return AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        **({"quantization_config": nf4(dtype)} if is_4bit else {}),
        **placed,
    )


def nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Linear layers, but for the head, in 4 bits; they compute in `dtype`.

    Source  QLoRA, arXiv:2305.14314v1, sec. 3: NormalFloat4 with its scales quantized as well
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def devices(loaded: Any) -> list[torch.device]:
    """Where a model computes, the device of its embedding first. What lies in main memory or on disk beside a GPU
    goes there at every step."""
    places = dict.fromkeys(_device_map(loaded).values())
    found = [_device(place) for place in places if place not in ("cpu", "disk", torch.device("cpu"))]
    return found or [torch.device("cpu")]


def _device_map(loaded: Any) -> dict[str, Any]:
    """transformers keeps the map only where it has more than one place."""
    found: dict[str, Any] = getattr(loaded, "hf_device_map", None) or {"": loaded.device}
    return found


def _device(place: int | str | torch.device) -> torch.device:
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)
