"""Does a student fit a device, and how fast would it be there: arithmetic on shapes, before anything is trained.

Sizes are counted here. Speeds, memory and their 80% intervals come from edgedistill/predictor/, the one way to predict:
this plan, `validate` without a device, and `edgedistill predict` all ask it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgedistill import models, quantization
from edgedistill.artifacts import Candidate, Candidates
from edgedistill.models import Model, Shape
from edgedistill.predictor import chips, memory, quants
from edgedistill.predictor import predict as predictor
from edgedistill.predictor.estimate import Estimate
from edgedistill.predictor.own_board import Pair
from edgedistill.predictor.work import Work
from edgedistill.quants import QuantEntry
from edgedistill.recipe import Budgets
from edgedistill.target import Target

MIB = memory.MIB

_CACHE_BYTES = 2
"""Of one number in the KV cache (F16)."""
PROMPT_TOKENS = 128
"""Of a prompt whose length nobody knows yet."""
_METADATA_PER_TOKEN = 36
"""Bytes of a GGUF file's vocabulary per token: text, type and merge rule, estimated."""
_RUNTIMES = {"gguf": "llama.cpp", "onnx_genai": "onnxruntime-genai", "onnx": "onnxruntime"}
"""Format -> what runs it, as the predictor's factors name it."""


@dataclass(frozen=True)
class Prediction:
    """Speeds are None where the target lacks the facts that they take, or the model does not fit; `reason` says why."""

    first_token_ms: Estimate | None
    decode_tok_s: Estimate | None
    prefill_tok_s: Estimate | None
    memory_mib: Estimate
    naive_decode_tok_s: float | None = None
    """What one read rate per chip would say."""
    basis: str = ""
    """How well the chip is known: `measured`, `copy rate`, `peak rate`, or a calibration."""
    reason: str = ""


@dataclass(frozen=True)
class Fit:
    """What one quantization of a student would be on a target."""

    quant: str
    file_bytes: int
    cache_bytes: int
    prediction: Prediction
    ceiling_tok_s: float | None
    """Decode speed that no runtime can pass: the memory's peak rate over bytes read per token."""
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


def work_of(shape: Shape, quant: QuantEntry | Candidate, context: int, prompt_tokens: int, target: Target) -> Work:
    """What decoding and reading a prompt take of a device, for a file that is planned or one that is there."""
    if isinstance(quant, QuantEntry):
        file_format, name, read = "gguf", quant.name, read_bytes(shape, quant)
        bits = 8 * _tensor_bytes(shape, quant, shape.tensors) / shape.parameters
    else:
        file_format, name, read, bits = quant.format, quant.quant, quant.read_bytes, quant.bits_per_weight
    embedding = shape.vocab * shape.hidden
    weights = shape.parameters - (0 if shape.tied else embedding)
    return Work(
        quant=quants.comparable(name, bits),
        read_bytes=max(read, 1),
        read_weights=weights,
        body_weights=max(weights - embedding, 1),
        layers=shape.layers,
        cache_bytes_per_token=kv_cache_bytes(shape, 1),
        context=min(prompt_tokens + 64, context),
        prompt_tokens=prompt_tokens,
        threads=target.threads,
        backend=target.backend,
        runtime=_RUNTIMES[file_format],
    )


def predict(
    target: Target,
    work: Work,
    *,
    file_bytes: int,
    cache_bytes: int,
    vocab: int = 0,
    pair: Pair | None = None,
) -> Prediction:
    """Speed and memory on a target of a model that need not exist.

    vocab   logits take a buffer of this many floats per token of a prefill step
    pair    measured on the user's own device; calibrates the speeds
    """
    peak = memory.peak_mib(file_bytes, cache_bytes, vocab)
    usable = target.usable_ram_mib
    lacking = memory.shortfall(peak, usable.value, target.name) if usable else ""
    found = predictor.declined(lacking) if lacking else predictor.speed(work, chips.of_target(target), pair)
    return Prediction(
        first_token_ms=found.first_token_ms,
        decode_tok_s=found.decode_tok_s,
        prefill_tok_s=found.prefill_tok_s,
        memory_mib=peak,
        naive_decode_tok_s=found.naive_decode_tok_s,
        basis=found.basis,
        reason=found.reason,
    )


def predict_file(
    target: Target, shape: Shape, candidate: Candidate, context: int, prompt_tokens: int, pair: Pair | None = None
) -> Prediction:
    """The same for a file that is there."""
    work, cache = work_of(shape, candidate, context, prompt_tokens, target), kv_cache_bytes(shape, context)
    return predict(target, work, file_bytes=candidate.bytes, cache_bytes=cache, vocab=shape.vocab, pair=pair)


def hopeless(
    candidates: Candidates, student: Model, target: Target, budgets: Budgets, context: int, pair: Pair | None
) -> dict[str, tuple[str, ...]]:
    """Candidate -> why it cannot keep the budgets, so that nobody evaluates it. None, when all of them cannot: the
    report is to say by how much. None in a plan of what is not exported yet."""
    if not candidates.are_listed:
        return {}
    shape, found = models.shape_of(student.path), {}
    for one in candidates.rows():
        prediction = predict_file(target, shape, one, context, PROMPT_TOKENS, pair)
        found[one.name] = tuple(f"{why}; not evaluated" for why in problems(target, budgets, prediction, one.bytes))
    return {name: reasons for name, reasons in found.items() if reasons} if not all(found.values()) else {}


def fit(
    shape: Shape,
    target: Target,
    budgets: Budgets,
    quant: QuantEntry,
    context: int,
    prompt_tokens: int = PROMPT_TOKENS,
    pair: Pair | None = None,
) -> Fit:
    """Everything that can be said about one quantization of a student on a target without making it."""
    size, cache, read = gguf_bytes(shape, quant), kv_cache_bytes(shape, context), read_bytes(shape, quant)
    work = work_of(shape, quant, context, prompt_tokens, target)
    prediction = predict(target, work, file_bytes=size, cache_bytes=cache, vocab=shape.vocab, pair=pair)
    rate = target.peak_gb_s or target.read_gb_s
    return Fit(
        quant=quant.name,
        file_bytes=size,
        cache_bytes=cache,
        prediction=prediction,
        ceiling_tok_s=rate.value * 1e9 / read if rate and read else None,
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
    peak = prediction.memory_mib
    usable = target.usable_ram_mib
    found = [memory.shortfall(peak, usable.value, target.name)] if usable else []
    if budgets.memory_mib and peak.low > budgets.memory_mib:
        found.append(f"needs {peak.value:,.0f} MiB, the budget is {budgets.memory_mib:,.0f} MiB")
    if budgets.package_mib and size / MIB > budgets.package_mib:
        found.append(f"the file has {size / MIB:,.1f} MiB, the budget is {budgets.package_mib:,.1f} MiB")
    first, decode = prediction.first_token_ms, prediction.decode_tok_s
    if budgets.first_token_ms and first and first.low > budgets.first_token_ms:
        found.append(f"first token after {first.value:,.0f} ms, the budget is {budgets.first_token_ms:,.0f} ms")
    if budgets.decode_tok_s and decode and decode.high < budgets.decode_tok_s:
        found.append(f"decodes {decode.value:,.1f} tok/s, the budget is {budgets.decode_tok_s:,.1f} tok/s")
    return [problem for problem in found if problem]
