"""Which type each tensor of a GGUF gets, and how many bytes that is: llama.cpp's rules, computed beforehand.

llama.cpp takes another type where a row does not fit the one that was asked for, prints a warning and reports success.
So `plan` foretells the types from the model's shapes, and `package` compares them with those read back from the file.

Source  src/llama-quant.cpp of the pinned llama.cpp: `tensor_allows_quantization`, `llama_tensor_get_type_impl`,
        `tensor_type_fallback`; block sizes from ggml/src/ggml-common.h. Left out: imatrix, the very low-bit types,
        and the special cases for Falcon and for models of 70 billion parameters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgedistill.errors import UsageError

Dimensions = tuple[int, ...]
"""As PyTorch writes them: the last one is the row. A GGUF file stores them in the opposite order."""


@dataclass(frozen=True)
class TensorType:
    """How one tensor's numbers are stored."""

    id: int
    """In a GGUF file."""
    block: int
    """Elements that share a scale; a row holds whole blocks."""
    bytes: int
    """Of one block."""


TYPES = {
    "F32": TensorType(0, 1, 4),
    "F16": TensorType(1, 1, 2),
    "Q4_0": TensorType(2, 32, 18),
    "Q4_1": TensorType(3, 32, 20),
    "Q5_0": TensorType(6, 32, 22),
    "Q5_1": TensorType(7, 32, 24),
    "Q8_0": TensorType(8, 32, 34),
    "Q4_K": TensorType(12, 256, 144),
    "Q5_K": TensorType(13, 256, 176),
    "Q6_K": TensorType(14, 256, 210),
    "BF16": TensorType(30, 1, 2),
}


@dataclass(frozen=True)
class Quant:
    """A recipe for a whole file: what llama.cpp calls a file type."""

    ftype: int
    """`enum llama_ftype` in include/llama.h."""
    default: str
    """Type of the tensors that no special rule names."""


QUANTS = {
    "F16": Quant(1, "F16"),
    "BF16": Quant(32, "BF16"),
    "Q8_0": Quant(7, "Q8_0"),
    "Q6_K": Quant(18, "Q6_K"),
    "Q5_K_M": Quant(17, "Q5_K"),
    "Q5_K_S": Quant(16, "Q5_K"),
    "Q5_1": Quant(9, "Q5_1"),
    "Q5_0": Quant(8, "Q5_0"),
    "Q4_K_M": Quant(15, "Q4_K"),
    "Q4_K_S": Quant(14, "Q4_K"),
    "Q4_1": Quant(3, "Q4_1"),
    "Q4_0": Quant(2, "Q4_0"),
}

_FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""For rows that 256 does not divide."""

_ROLES = {
    "embedding": r"^(token_embd|.*embed_tokens|.*wte|.*embed_in)\.weight$",
    "output": r"^(output|lm_head|embed_out)\.weight$",
    "value": r"(attn_v|attn_qkv|attn_kv_b|v_proj|qkv_proj|c_attn|query_key_value|kv_b_proj)\.weight$",
    "key": r"(attn_k|\bk_proj)\.weight$",
    "attention output": r"(attn_output|o_proj)\.weight$",
    "down": r"(ffn_down|down_proj|mlp\.c_proj|dense_4h_to_h|fc2)",
}
"""What a tensor does, by its name in a GGUF file or in a Hugging Face model."""

_KEPT = r"(norm|ln_\d|ln_f|layernorm|ffn_gate_inp|mlp\.gate\.|position_embd|wpe\.|ssm_conv1d|\.conv1d|shortconv)"
"""Left in full precision whatever the quant."""


def known(quant: str) -> Quant:
    """The quant of this name, or UsageError."""
    if quant not in QUANTS:
        raise UsageError(f"no quantization named `{quant}`; there are: {', '.join(QUANTS)}")
    return QUANTS[quant]


def expected_types(tensors: Mapping[str, Dimensions], quant: str) -> dict[str, str]:
    """The type that llama.cpp is going to give each tensor, from names (GGUF or Hugging Face) and dimensions."""
    default = known(quant).default
    order = sorted(tensors, key=lambda name: (_layer(name), name))
    values = [name for name in order if _role(name) == "value"]
    layers = max((_layer(name) for name in tensors), default=-1) + 1
    is_tied = not any(_role(name) == "output" for name in tensors)
    experts = next((d[0] for name, d in tensors.items() if "_exps." in name), 0)
    types = {}
    for name, dimensions in tensors.items():
        if not _is_quantized(name, dimensions):
            types[name] = "F32"
        elif TYPES[default].block == 1:
            types[name] = default
        else:
            place = values.index(name) if name in values else _layer(name)
            count = len(values) if name in values else layers
            role = "output" if is_tied and _role(name) == "embedding" else _role(name)
            wanted = _wanted(role, quant, default, dimensions[-1], place, count, experts)
            types[name] = fallback(wanted, dimensions[-1])
    return types


def fallback(wanted: str, row: int) -> str:
    """The type that a row of this many elements can have, where it cannot have the wanted one."""
    if row % TYPES[wanted].block == 0:
        return wanted
    found = _FALLBACKS.get(wanted, wanted)
    return found if row % TYPES[found].block == 0 else "F16"


def fallbacks(tensors: Mapping[str, Dimensions], quant: str) -> dict[str, str]:
    """Only the tensors whose rows do not fit, and the type that they get instead."""
    roomy = {name: (*dimensions[:-1], 256 * dimensions[-1]) for name, dimensions in tensors.items() if dimensions}
    wished = expected_types(roomy, quant)
    return {name: got for name, got in expected_types(tensors, quant).items() if got != wished.get(name, got)}


def tensor_bytes(dimensions: Dimensions, type_name: str) -> int:
    """Size of a tensor's data, without padding."""
    kind = TYPES[type_name]
    return math.prod(dimensions) // kind.block * kind.bytes


def bits_per_weight(tensors: Mapping[str, Dimensions], types: Mapping[str, str]) -> float:
    """Over all tensors, the small ones in full precision among them."""
    total = sum(tensor_bytes(dimensions, types[name]) for name, dimensions in tensors.items())
    return 8 * total / sum(math.prod(dimensions) for dimensions in tensors.values())


def type_counts(types: Mapping[str, str]) -> dict[str, int]:
    """Type -> number of tensors, sorted by type."""
    return dict(sorted(Counter(types.values()).items()))


def _is_quantized(name: str, dimensions: Dimensions) -> bool:
    return len(dimensions) >= 2 and name.endswith("weight") and not re.search(_KEPT, name)


def _wanted(role: str, quant: str, default: str, row: int, place: int, count: int, experts: int) -> str:
    """`llama_tensor_get_type_impl`: `place` is this tensor's number among the `count` of its role."""
    if role == "output":
        # A tied embedding is the head too, so it gets the head's type.
        return "Q8_0" if default == "Q8_0" or row % TYPES[default].block else "Q6_K"
    if experts == 8 and role in ("value", "key"):
        return "Q8_0"
    if experts == 8 and role == "attention output" and quant.startswith("Q4_K"):
        return "Q5_K"
    if quant in ("Q4_K_M", "Q5_K_M") and role in ("value", "down") and _gets_more_bits(place, count):
        return "Q6_K"
    if quant == "Q4_K_S" and ((role == "value" and place < 4) or (role == "down" and place < count // 8)):
        return "Q5_K"
    return default


def _gets_more_bits(place: int, count: int) -> bool:
    return place < count // 8 or place >= 7 * count // 8 or (place - count // 8) % 3 == 2


def _layer(name: str) -> int:
    found = re.search(r"\.(\d+)\.", name)
    return int(found.group(1)) if found else -1


def _role(name: str) -> str:
    return next((role for role, pattern in _ROLES.items() if re.search(pattern, name)), "")
