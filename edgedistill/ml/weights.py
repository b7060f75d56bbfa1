"""Weights in and out of a model folder. Tokenizer, template and config beside them stay the base's own, byte for byte.

transformers rewrites tokenizers when it saves them (other ids, other pre-tokenizer hash), and the GGUF converter then
no longer knows them. So those files are copied, and only weights are written.
"""

from __future__ import annotations

import gc
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from edgedistill.errors import StageFailed
from edgedistill.ml import loading, memory
from edgedistill.ml.disk import full_disk_is_an_os_error
from edgedistill.models import Model

LEARNING = torch.float32
"""For weights that are trained: a bfloat16 weight swallows steps smaller than 1/256 of itself."""

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


_SHORT = 512
"""Tokens up to which a CPU trains faster with plain attention: 1.6 times at 100 tokens, padding included."""


def load(
    model: Model, dtype: torch.dtype, longest: int, *, is_4bit: bool = False, placed: dict[str, Any] | None = None
) -> Any:
    """A causal language model in `dtype` for rows of up to `longest` tokens.

    is_4bit  its linear layers, but for the head, are NF4 and compute in `dtype`
    placed   keyword arguments of `from_pretrained` that say where; None: on the CPU, and the trainer moves it
    """
    config = AutoConfig.from_pretrained(model.path, local_files_only=True)
    # Only plain attention applies the soft cap that some models were trained with.
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    plain = capped or (longest <= _SHORT and not torch.cuda.is_available())
    return AutoModelForCausalLM.from_pretrained(
        model.path,
        config=config,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation="eager" if plain else None,
        **({"quantization_config": loading.nf4(dtype)} if is_4bit else {}),
        **(placed or {}),
    )


def frozen_dtype() -> torch.dtype:
    """For weights that do not learn: small on a GPU. A CPU is faster with float32, and merges more exactly."""
    return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32


def adapter(rank: int) -> LoraConfig:
    """LoRA on every linear layer but the output embedding, which may be tied (PEFT merges tied ones wrongly)."""
    return LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, lora_dropout=0.0, bias="none", target_modules="all-linear"
    )


def merged(trained: Any, base: Model, rank: int) -> Any:
    """The base as it is stored, with the adapter of `trained` added to its weights; `trained` may be 4-bit.

    PEFT would merge into the 4-bit weights: what is left would be the base with 4-bit's rounding, not the base.
    """
    learned = {name: tensor.cpu() for name, tensor in get_peft_model_state_dict(trained).items()}
    whole = get_peft_model(load(base, frozen_dtype(), _SHORT), adapter(rank))
    set_peft_model_state_dict(whole, learned)
    return whole.merge_and_unload()


def save(trained: Any, base: Model, folder: Path) -> None:
    """Write weights in the base's dtype and tensor names, beside copies of all its other files.

    Raises  StageFailed when what was written is not what the base has, tensor by tensor.
    """
    shutil.rmtree(folder, ignore_errors=True)
    parameters = _count(trained)
    _cast(trained, _stored_types(base.path))
    with full_disk_is_an_os_error(folder.parent):
        trained.save_pretrained(folder)
    for written in folder.iterdir():  # its config and generation config carry what the trainer changed
        if not written.name.startswith("model"):
            written.unlink()
    for file in base.files():
        if file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    _compare(folder, base, parameters)


def free() -> None:
    """Give memory back once the last name of a model is gone."""
    gc.collect()
    memory.give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _count(trained: nn.Module) -> int:
    """Parameters, tied ones once."""
    return sum(parameter.numel() for parameter in trained.parameters())


def _stored_types(path: Path) -> dict[str, torch.dtype]:
    found = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  not a dict, it has no other iterator
                stored = tensors.get_slice(name).get_dtype()
                if stored in _DTYPES:
                    found[name] = _DTYPES[stored]
    return found


def _cast(trained: nn.Module, stored: dict[str, torch.dtype]) -> None:
    usual = Counter(stored.values()).most_common(1)[0][0]
    for name, parameter in trained.named_parameters():
        parameter.data = parameter.data.to(stored.get(name, usual))


def _compare(folder: Path, base: Model, parameters: int) -> None:
    written = Model(folder, "").shape().tensors
    wanted = base.shape().tensors
    strange = sorted(name for name, size in written.items() if wanted.get(name) != size)
    count = sum(math.prod(size) for size in written.values())
    if strange or count != parameters:
        names = f": {', '.join(strange[:5])}" if strange else ""
        raise StageFailed(
            f"the trained weights do not match those of {base.name or base.path}"
            f" ({count:,} of {parameters:,} parameters written, {len(strange)} tensors differ{names})",
            "this architecture may need a newer transformers; please report the model",
        )
