"""Which module of a Hugging Face model becomes which tensor of a GGUF file: llama.cpp's own table, in `gguf`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
from torch import nn
from transformers.pytorch_utils import Conv1D

from edgedistill.files import read_json

HEAD, EMBEDDING = "output.weight", "token_embd.weight"
_SAME = {"mistral": "llama", "gemma3_text": "gemma3", "qwen2_5_vl_text": "qwen2", "smollm3": "smollm3"}
"""`model_type` of config.json -> llama.cpp's name of the architecture, where it is another."""


def matrices(model: Any, path: Path) -> dict[str, nn.Module]:
    """GGUF tensor name -> the module that multiplies with it, layer by layer; embedding and head are not among them."""
    config = model.config.get_text_config()
    names = gguf.get_tensor_name_map(_architecture(path), config.num_hidden_layers)
    found = {}
    for own, module in model.named_modules():
        name = names.get_name(own) if isinstance(module, nn.Linear | Conv1D) else None
        if name and name.startswith("blk."):
            found[f"{name}.weight"] = module
    return found


def head_name(model: Any) -> str:
    """Of the tensor that turns the last hidden state into logits."""
    return EMBEDDING if model.config.get_text_config().tie_word_embeddings else HEAD


def _architecture(path: Path) -> gguf.MODEL_ARCH:
    config = read_json(path / "config.json")
    kind = config.get("text_config", config).get("model_type", "llama")
    wanted = _SAME.get(kind, kind)
    # Of an architecture that has no name of its own here, the layers are nearly always named as in Llama.
    known = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}
    return known.get(wanted, gguf.MODEL_ARCH.LLAMA)
