"""Does a student fit a device, and how fast would it be there: arithmetic on shapes, before anything is trained.

Decoding reads every weight once per token, so its speed is bounded by memory; reading a prompt computes, so its speed
is bounded by arithmetic:

    decode, s per token     overhead + bytes read / read rate
    first token, s          prompt tokens x 2 x parameters / compute rate + one decode step
    memory                  file + KV cache + buffers + runtime

Every prediction carries an 80% interval, and the factors below say where it comes from. For a model far smaller than
100 MB the overhead is most of the time, nobody has published measurements of such models, and the interval is wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgedistill import quantization
from edgedistill.models import Shape
from edgedistill.quants import QuantEntry
from edgedistill.recipe import Budgets
from edgedistill.target import Target

MIB = 1024 * 1024

READ_FACTOR = 1.42
"""80% interval of the time to read the weights, as a factor each way. One read rate per device is off by 9% (median, on
published llama.cpp measurements) and two people on the same board differ by 16% (median): together 18%, which is 27%
standard deviation of a log-normal, and 1.28 of these are a factor of 1.42."""
COMPUTE_FACTOR = 1.73
"""The same for reading the prompt: sources differ by 29% (median), because kernels for a type come and go."""
OVERHEAD_FACTOR = 4.0
"""The same for the fixed cost of a token, which is known by its order of magnitude only."""
RUNTIME_FACTOR = 1.5
"""The same for the memory that is neither weights nor cache."""

_CACHE_BYTES = 2
"""Of one number in the KV cache (F16)."""
_METADATA_PER_TOKEN = 36
"""Bytes of a GGUF file's vocabulary per token: text, type and merge rule, estimated."""
_PREFILL_TOKENS = 512
"""Tokens that llama.cpp computes at once; its buffers are sized for them."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 80% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """None where the target lacks the fact that it takes."""

    first_token_ms: Estimate | None
    decode_tok_s: Estimate | None
    prefill_tok_s: Estimate | None
    memory_mib: Estimate


@dataclass(frozen=True)
class Fit:
    """What one quantization of a student would be on a target."""

    quant: str
    file_bytes: int
    cache_bytes: int
    prediction: Prediction
    ceiling_tok_s: float | None
    """Decode speed that no runtime can pass: read rate over bytes read per token."""
    fallbacks: dict[str, str]
    """Tensors whose rows do not suit the quant, and the type that llama.cpp takes instead."""
    problems: tuple[str, ...]
    """Why it cannot work, or can hardly keep a budget; empty when it fits."""

    @property
    def fits(self) -> bool:
        return not self.problems


def gguf_bytes(shape: Shape, quant: QuantEntry) -> int:
    """Size of the GGUF file; tensors exactly, the vocabulary beside them estimated. Of a mix what it may have."""
    if quant.most_bytes is not None:
        return quant.most_bytes
    return _tensor_bytes(shape, quant, shape.tensors) + _METADATA_PER_TOKEN * shape.vocab


def read_bytes(shape: Shape, quant: QuantEntry) -> int:
    """Bytes that one decoded token reads: all tensors, but for an input embedding that is not the head too."""
    read = [name for name in shape.tensors if shape.tied or quantization.role(name) != "embedding"]
    return _tensor_bytes(shape, quant, read)


def head_bytes(shape: Shape, types: Sequence[str]) -> dict[str, int]:
    """Type -> size of the head, which with tied embeddings is that of both; empty where no tensor is known to be it."""
    wanted = "embedding" if shape.tied else "output"
    heads = [dimensions for name, dimensions in shape.tensors.items() if quantization.role(name) == wanted]
    return {
        kind: quantization.tensor_bytes(heads[0], kind)
        for kind in types
        if heads and quantization.fallback(kind, heads[0][-1]) == kind
    }


def _tensor_bytes(shape: Shape, quant: QuantEntry, names: Iterable[str]) -> int:
    """Of these tensors; of a mix their share of all that it may take."""
    if quant.is_mix:
        share = sum(math.prod(shape.tensors[name]) for name in names) / shape.parameters
        whole = (quant.bits or 0) * shape.parameters / 8
        if quant.most_bytes is not None:
            whole = max(0, quant.most_bytes - _METADATA_PER_TOKEN * shape.vocab)
        return int(share * whole)
    types = quant.types(shape.tensors, has_importance=True)
    return sum(quantization.tensor_bytes(shape.tensors[name], types[name]) for name in names)


def kv_cache_bytes(shape: Shape, context: int) -> int:
    """Keys and values of every layer for a full context."""
    return 2 * shape.layers * shape.kv_heads * shape.head_size * _CACHE_BYTES * context


def predict(
    target: Target,
    *,
    read_bytes: int,
    parameters: int,
    prompt_tokens: int,
    file_bytes: int,
    cache_bytes: int,
    vocab: int = 0,
) -> Prediction:
    """Speed and memory on a target of a model that need not exist.

    read_bytes     bytes of tensors that one decoded token reads
    parameters     of the model: 2 operations each per prompt token
    prompt_tokens  before the first token
    vocab          logits take a buffer of this many floats per token of a prefill step
    """
    step_ms = _decode_ms(target, read_bytes)
    prompt_ms = _prompt_ms(target, parameters, prompt_tokens)
    return Prediction(
        first_token_ms=_sum(step_ms, prompt_ms) if step_ms and prompt_ms else None,
        decode_tok_s=_rate(1, step_ms) if step_ms else None,
        prefill_tok_s=_rate(prompt_tokens, prompt_ms) if prompt_ms else None,
        memory_mib=_memory_mib(target, file_bytes, cache_bytes, 4 * vocab * _PREFILL_TOKENS),
    )


def _decode_ms(target: Target, read_bytes: int) -> Estimate | None:
    if target.read_gb_s is None:
        return None
    overhead = target.token_overhead_ms.value if target.token_overhead_ms else 0.0
    return _sum(_around(read_bytes / target.read_gb_s.value / 1e6, READ_FACTOR), _around(overhead, OVERHEAD_FACTOR))


def _prompt_ms(target: Target, parameters: int, tokens: int) -> Estimate | None:
    if target.compute_gops is None:
        return None
    return _around(tokens * 2 * parameters / target.compute_gops.value / 1e6, COMPUTE_FACTOR)


def _memory_mib(target: Target, file_bytes: int, cache_bytes: int, buffer_bytes: int) -> Estimate:
    runtime = target.runtime_mib.value if target.runtime_mib else 0.0
    once = (file_bytes + cache_bytes) / MIB
    # Where llama.cpp has a faster layout for a type, it copies the weights into it beside the mapped file.
    weights = Estimate(once, once, once + file_bytes / MIB)
    return _sum(weights, _around(runtime + buffer_bytes / MIB, RUNTIME_FACTOR))


def _around(value: float, factor: float) -> Estimate:
    return Estimate(value, value / factor, value * factor)


def _sum(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(one.value + other.value, one.low + other.low, one.high + other.high)


def _rate(count: int, duration_ms: Estimate) -> Estimate:
    """Per second; the longest time is the lowest rate."""
    return Estimate(*(1000 * count / ms for ms in (duration_ms.value, duration_ms.high, duration_ms.low)))


def fit(
    shape: Shape, target: Target, budgets: Budgets, quant: QuantEntry, context: int, prompt_tokens: int = 128
) -> Fit:
    """Everything that can be said about one quantization of a student on a target without making it."""
    size, cache, read = gguf_bytes(shape, quant), kv_cache_bytes(shape, context), read_bytes(shape, quant)
    prediction = predict(
        target,
        read_bytes=read,
        parameters=shape.parameters,
        prompt_tokens=prompt_tokens,
        file_bytes=size,
        cache_bytes=cache,
        vocab=shape.vocab,
    )
    return Fit(
        quant=quant.name,
        file_bytes=size,
        cache_bytes=cache,
        prediction=prediction,
        ceiling_tok_s=target.read_gb_s.value * 1e9 / read if target.read_gb_s else None,
        fallbacks=_fallbacks(shape, quant),
        problems=tuple(problems(target, budgets, prediction, size)),
    )


def _fallbacks(shape: Shape, quant: QuantEntry) -> dict[str, str]:
    """None of a mix, whose types are chosen to fit."""
    if quant.quant is None:
        return {}
    return quantization.fallbacks(shape.tensors, quant.quant, has_importance=quant.imatrix)


def problems(target: Target, budgets: Budgets, prediction: Prediction, size: int) -> list[str]:
    """A limit counts as broken when even the good end of the interval breaks it."""
    found = []
    memory = prediction.memory_mib
    if target.usable_ram_mib and memory.low > target.usable_ram_mib.value:
        # Not a matter of degree: a model that does not fit is paged in 13 to 80 times slower, or killed.
        found.append(f"needs {memory.value:,.0f} MiB, {target.name} has {target.usable_ram_mib.value:,.0f} MiB to use")
    if budgets.memory_mib and memory.low > budgets.memory_mib:
        found.append(f"needs {memory.value:,.0f} MiB, the budget is {budgets.memory_mib:,.0f} MiB")
    if budgets.package_mib and size / MIB > budgets.package_mib:
        found.append(f"the file has {size / MIB:,.1f} MiB, the budget is {budgets.package_mib:,.1f} MiB")
    first, decode = prediction.first_token_ms, prediction.decode_tok_s
    if budgets.first_token_ms and first and first.low > budgets.first_token_ms:
        found.append(f"first token after {first.value:,.0f} ms, the budget is {budgets.first_token_ms:,.0f} ms")
    if budgets.decode_tok_s and decode and decode.high < budgets.decode_tok_s:
        found.append(f"decodes {decode.value:,.1f} tok/s, the budget is {budgets.decode_tok_s:,.1f} tok/s")
    return found
