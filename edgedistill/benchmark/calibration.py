"""The pair of a benchmark that later predictions of its target rest on, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgedistill import gguf_file, plan
from edgedistill.artifacts import Candidate
from edgedistill.benchmark import fit
from edgedistill.benchmark.load import FULL
from edgedistill.bundle_manifest import Manifest
from edgedistill.errors import UsageError
from edgedistill.files import read_json
from edgedistill.log import say
from edgedistill.models import Shape
from edgedistill.predictor import own_board
from edgedistill.predictor.own_board import Pair
from edgedistill.predictor.work import Work

_DESCRIPTION = ("format", "quant", "file", "bytes", "sha256", "tensor_types", "bits_per_weight")
_GENAI = "genai_config.json"


def calibrate(folder: Path, manifest: Manifest, latency: dict[str, Any]) -> Path | None:
    """Keep what was measured for later predictions of the target.

    None, and the reason said, where that would mislead: another device, one that throttled or was disturbed, and a
    quick run after a full one; and where the file does not tell what is read of it. An emulator's speed is no speed.
    """
    if latency["evidence"] != "measured":
        return None
    try:
        if not (reason := _doubt(manifest, latency["conditions"])):
            return own_board.store(manifest.target.name, _pair(folder, manifest, latency))
    except UsageError as error:
        reason = error.problem
    say(f"  not kept for predictions: {reason}")
    return None


def _doubt(manifest: Manifest, conditions: dict[str, Any]) -> str:
    if other := conditions["other_device"]:
        return f"the device is {other}, not {manifest.target.title}"
    if found := conditions["noisy"] or conditions["throttled"]:
        return str(found)
    earlier = own_board.stored(manifest.target.name) if _is_quick(conditions) else None
    return f"a quick run does not replace the full one, {earlier.measured}" if earlier and not earlier.is_quick else ""


def _is_quick(conditions: dict[str, Any]) -> bool:
    return bool(conditions["extent"] != FULL.name)


def _pair(folder: Path, manifest: Manifest, latency: dict[str, Any]) -> Pair:
    conditions = latency["conditions"]
    told = (conditions["where"], datetime.now(UTC).date().isoformat(), conditions["server"])
    work = work_of(folder, manifest, conditions["prompt_tokens"], conditions["new_tokens"])
    return Pair(
        replace(work, backend=conditions["backend"]),
        latency["decode_tok_s"]["p50"],
        latency["prefill_tok_s"],
        ", ".join(told),
        is_quick=_is_quick(conditions),
    )


def work_of(folder: Path, manifest: Manifest, prompt_tokens: int, new_tokens: int) -> Work:
    """What one request takes of the device; the cache holds the prompt and, on average, half of the answer.

    Raises  UsageError where the file does not tell
    """
    is_gguf = manifest.chosen["format"] == "gguf"
    shape, parameters, read = (_of_gguf if is_gguf else _of_onnx)(folder / manifest.model)
    described = {name: manifest.chosen[name] for name in _DESCRIPTION}
    candidate = Candidate(**described, parameters=parameters, read_bytes=read)
    work = plan.work_of(shape, candidate, prompt_tokens + new_tokens, prompt_tokens, fit.target_of(manifest))
    return replace(work, context=prompt_tokens + new_tokens / 2)


def _of_gguf(file: Path) -> tuple[Shape, int, int]:
    """Shape, parameters and bytes that a token reads, from the file's head."""
    head = gguf_file.read(file)
    name = head.metadata["general.architecture"]

    def number(key: str, default: int = 0) -> int:
        found = head.metadata.get(f"{name}.{key}", default)
        if isinstance(found, list):
            raise UsageError(f"{file.name}: {name}.{key} differs from layer to layer, and the predictor takes one")
        return int(found)

    hidden, heads = number("embedding_length"), max(1, number("attention.head_count", 1))
    vocab, _ = head.tensors["token_embd.weight"].dimensions
    shape = Shape(
        architecture=name,
        layers=number("block_count"),
        hidden=hidden,
        kv_heads=number("attention.head_count_kv", heads),
        head_size=number("attention.key_length", hidden // heads),
        vocab=vocab,
        tied="output.weight" not in head.tensors,
        tensors=head.shapes,
    )
    return shape, head.parameters, head.read_bytes


def _of_onnx(model: Path) -> tuple[Shape, int, int]:
    """The same from the graph and the settings beside it."""
    from edgedistill import onnx_file

    if not (model / _GENAI).is_file():
        raise UsageError(f"{model.name}/ has no {_GENAI}, and a plain graph does not tell the model's shape")
    graph = onnx_file.read(model)
    settings = read_json(model / _GENAI)["model"]
    decoder = settings["decoder"]
    shape = Shape(
        architecture=settings["type"],
        layers=decoder["num_hidden_layers"],
        hidden=decoder["hidden_size"],
        kv_heads=decoder["num_key_value_heads"],
        head_size=decoder["head_size"],
        vocab=settings["vocab_size"],
        tied=not any(weight.is_looked_up for weight in graph.weights.values()),
        tensors={"all": (graph.parameters,)},
    )
    return shape, graph.parameters, graph.read_bytes
