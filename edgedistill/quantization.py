"""Which type each tensor of a GGUF gets, and how many bytes that is: llama.cpp's rules, computed beforehand.

llama.cpp takes another type where a row does not fit the one that was asked for, prints a warning and reports success.
So `plan` foretells the types from the model's shapes, and `package` compares them with those read back from the file.

Source  src/llama-quant.cpp of the pinned llama.cpp: `tensor_allows_quantization`, `tensor_type_fallback`,
        `tensor_requires_imatrix`; block sizes from ggml/src/ggml-common.h. Which tensors get more bits than the rest
        is in mixtures.py.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgedistill import mixtures
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
    "Q2_K": TensorType(10, 256, 84),
    "Q3_K": TensorType(11, 256, 110),
    "Q4_K": TensorType(12, 256, 144),
    "Q5_K": TensorType(13, 256, 176),
    "Q6_K": TensorType(14, 256, 210),
    "IQ2_XXS": TensorType(16, 256, 66),
    "IQ2_XS": TensorType(17, 256, 74),
    "IQ3_XXS": TensorType(18, 256, 98),
    "IQ4_NL": TensorType(20, 32, 18),
    "IQ3_S": TensorType(21, 256, 110),
    "IQ2_S": TensorType(22, 256, 82),
    "IQ4_XS": TensorType(23, 256, 136),
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
    "IQ4_NL": Quant(25, "IQ4_NL"),
    "IQ4_XS": Quant(30, "IQ4_XS"),
    "Q3_K_L": Quant(13, "Q3_K"),
    "Q3_K_M": Quant(12, "Q3_K"),
    "Q3_K_S": Quant(11, "Q3_K"),
    "IQ3_M": Quant(27, "IQ3_S"),
    "IQ3_S": Quant(26, "IQ3_S"),
    "IQ3_XS": Quant(22, "IQ3_S"),
    "IQ3_XXS": Quant(23, "IQ3_XXS"),
    "Q2_K": Quant(10, "Q2_K"),
    "Q2_K_S": Quant(21, "Q2_K"),
    "IQ2_M": Quant(29, "IQ2_S"),
    "IQ2_S": Quant(28, "IQ2_XS"),
    "IQ2_XS": Quant(20, "IQ2_XS"),
    "IQ2_XXS": Quant(19, "IQ2_XXS"),
}
"""Largest first. The names of those of two and three bits say more than their default type holds."""

FLOAT = ("F32", "F16", "BF16")
"""Types that lose nothing, or next to nothing, of a weight."""

_FALLBACKS = {
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K"), "Q4_0"),
    **{"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"},
}
"""For rows that 256 does not divide."""

_NEED_IMPORTANCE = ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S")
"""Types that llama.cpp makes of a layer's weights only with an importance matrix."""

_ROLES = {
    "embedding": r"(token_embd|embed_tokens|wte|embed_in|word_embeddings)\.weight$",
    "output": r"^(output|lm_head|embed_out)\.weight$",
    "value": r"(attn_v|attn_qkv|attn_kv_b|v_proj|qkv_proj|c_attn|query_key_value|kv_b_proj)\.weight$",
    "key": r"(attn_k|\bk_proj)\.weight$",
    "query": r"(attn_q|\bq_proj)\.weight$",
    "attention output": r"(attn_output|o_proj|attn\.c_proj)\.weight$",
    "down": r"(ffn_down|down_proj|mlp\.c_proj|dense_4h_to_h|fc2)",
    "gate": r"(ffn_gate|\bgate_proj)",
    "up": r"(ffn_up|up_proj|mlp\.c_fc|dense_h_to_4h|fc1)",
}
"""What a tensor does, by its name in a GGUF file or in a Hugging Face model."""

_KEPT = r"(norm|ln_\d|ln_f|layernorm|ffn_gate_inp|mlp\.gate\.|position_embd|wpe\.|ssm_conv1d|\.conv1d|shortconv)"
"""Left in full precision whatever the quant."""


def known(quant: str) -> Quant:
    """The quant of this name, or UsageError."""
    if quant not in QUANTS:
        raise UsageError(f"no quantization named `{quant}`; there are: {', '.join(QUANTS)}")
    return QUANTS[quant]


def expected_types(
    tensors: Mapping[str, Dimensions], quant: str, *, has_importance: bool = False, ties_head: bool | None = None
) -> dict[str, str]:
    """The type that llama.cpp is going to give each tensor, from names (GGUF or Hugging Face) and dimensions.

    has_importance  with an importance matrix it takes other types in places
    ties_head       whether the embedding is the head too; None: where no tensor is the head
    """
    default = known(quant).default
    tensors = rows_last(tensors)
    order = sorted(tensors, key=lambda name: (_layer(name), name))
    values = [name for name in order if role(name) == "value"]
    layers = max((_layer(name) for name in tensors), default=-1) + 1
    is_tied = not any(role(name) == "output" for name in tensors) if ties_head is None else ties_head
    experts = next((d[0] for name, d in tensors.items() if "_exps." in name), 0)
    shared_by = _query_heads_per_value_head(tensors)
    types = {}
    for name, dimensions in tensors.items():
        if not is_quantized(name, dimensions):
            types[name] = "F32"
        elif TYPES[default].block == 1:
            types[name] = default
        else:
            number, count = (values.index(name), len(values)) if name in values else (_layer(name), layers)
            place = mixtures.Place(number, count, shared_by, experts, has_importance)
            does = "output" if is_tied and role(name) == "embedding" else role(name)
            row = dimensions[-1]
            types[name] = fallback(mixtures.wanted(quant, default, does, place, row, TYPES[default].block), row)
    return types


def fallback(wanted: str, row: int) -> str:
    """The type that a row of this many elements can have, where it cannot have the wanted one."""
    if row % TYPES[wanted].block == 0:
        return wanted
    found = _FALLBACKS.get(wanted, wanted)
    return found if row % TYPES[found].block == 0 else "F16"


def fallbacks(tensors: Mapping[str, Dimensions], quant: str, *, has_importance: bool = False) -> dict[str, str]:
    """Only the tensors whose rows do not fit, and the type that they get instead."""
    roomy = {name: (*d[:-1], 256 * d[-1]) for name, d in rows_last(tensors).items() if d}
    wished = expected_types(roomy, quant, has_importance=has_importance)
    got = expected_types(tensors, quant, has_importance=has_importance)
    return {name: kind for name, kind in got.items() if kind != wished.get(name, kind)}


def needs_importance(types: Mapping[str, str], quant: str) -> list[str]:
    """The tensors that llama.cpp refuses to make without an importance matrix."""
    refused = (*_NEED_IMPORTANCE, "Q2_K") if quant == "Q2_K_S" else _NEED_IMPORTANCE
    return [name for name, kind in types.items() if kind in refused and role(name) not in ("embedding", "output")]


def role(name: str) -> str:
    """What a tensor does, one of _ROLES, or empty."""
    return next((role for role, pattern in _ROLES.items() if re.search(pattern, name)), "")


def is_quantized(name: str, dimensions: Dimensions) -> bool:
    """Whether a tensor gets the quant's type at all: matrices do, norms and biases stay F32."""
    return len(dimensions) >= 2 and name.endswith("weight") and not re.search(_KEPT, name)


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


def rows_last(tensors: Mapping[str, Dimensions]) -> Mapping[str, Dimensions]:
    """GPT-2 stores its matrices in Hugging Face files with inputs first; the converter turns them."""
    attention = next((d for name, d in tensors.items() if name.endswith("c_attn.weight")), (1, 0))
    if attention[0] >= attention[-1]:  # three times as many outputs as inputs: not turned
        return tensors
    turned = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
    return {name: d[::-1] if turned.search(name) else d for name, d in tensors.items()}


def _query_heads_per_value_head(tensors: Mapping[str, Dimensions]) -> int:
    """From the rows of the first layer's matrices; 1 where they do not tell."""
    first = min((_layer(name) for name in tensors if _layer(name) >= 0), default=-1)
    found = {role(name): (name, d) for name, d in tensors.items() if _layer(name) == first and len(d) == 2}
    if "query" in found and "key" in found:
        return found["query"][1][0] // max(1, found["key"][1][0])
    if "value" in found and "attention output" in found:
        # One matrix of q + 2 k rows, and q columns in the matrix that reads the attention's result.
        rows, queries = found["value"][1][0], found["attention output"][1][-1]
        return 2 * queries // (rows - queries) if rows > queries else 1
    return 1


def _layer(name: str) -> int:
    found = re.search(r"\.(\d+)\.", name)
    return int(found.group(1)) if found else -1
