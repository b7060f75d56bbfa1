"""What becomes of a benchmark: budgets graded again, figures in the bundle, and the pair that predictions rest on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgedistill import bundle_manifest, bundle_texts, choice, gguf_file, plan
from edgedistill.artifacts import Candidate
from edgedistill.benchmark import fit
from edgedistill.benchmark.run import Found
from edgedistill.bundle_manifest import Manifest
from edgedistill.files import read_json, write_text
from edgedistill.log import say
from edgedistill.models import Shape
from edgedistill.predictor import own_board
from edgedistill.predictor.own_board import Pair
from edgedistill.predictor.work import Work
from edgedistill.recipe import Budgets

_GRADED = ("first_token_ms", "decode_tok_s", "memory_mib")
"""Budgets that a device decides; the others are facts of the file."""
_DESCRIPTION = ("format", "quant", "file", "bytes", "sha256", "tensor_types", "bits_per_weight")


def into_bundle(folder: Path, found: Found) -> Manifest:
    """The manifest with the benchmark's figures, written; the model card's budgets too.

    What was measured on the device stays where this run was only emulated: then only `benchmark` tells of it.
    """
    manifest = bundle_manifest.read(folder)
    about = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "where": found.latency["conditions"]["where"],
        "evidence": found.latency["evidence"],
        "parity": found.parity,
    }
    changed: dict[str, Any] = {"benchmark": about}
    if found.latency["evidence"] == "measured" or _evidence(manifest) != "measured":
        latency = _with_answer_ms(found.latency, manifest)
        memory = found.memory_mib or manifest.chosen.get("memory_mib")
        chosen = {**manifest.chosen, "latency": latency, "memory_mib": memory}
        changed |= {"chosen": chosen, "budgets": regraded(manifest, latency, memory)}
    updated = manifest.model_copy(update=changed)
    card = folder / "MODEL_CARD.md"
    if card.is_file():
        write_text(card, bundle_texts.with_budgets(card.read_text(encoding="utf-8"), updated.budgets))
        files = {**updated.files, card.name: bundle_manifest.file_of(card)}
        updated = updated.model_copy(update={"files": files})
    bundle_manifest.write(folder, updated)
    return updated


def regraded(manifest: Manifest, latency: dict[str, Any], memory: dict[str, Any] | None) -> tuple[dict[str, Any], ...]:
    """The bundle's budgets, those on speed and memory by new figures."""
    limits = {budget["name"]: budget["limit"] for budget in manifest.budgets if budget["name"] in _GRADED}
    line = {**manifest.chosen, "latency": latency, "memory_mib": memory, "accuracy": None}
    graded = {budget["name"]: budget for budget in choice.grade(line, Budgets(**limits))}
    return tuple(graded.get(budget["name"], budget) for budget in manifest.budgets)


def _evidence(manifest: Manifest) -> str | None:
    latency = manifest.chosen.get("latency")
    return latency and latency["evidence"]


def _with_answer_ms(latency: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """With how long an answer of the task's usual length takes, where the bundle knows it."""
    tokens = manifest.conditions.get("answer_tokens")
    taken = choice.answer_ms(latency, tokens) if tokens else None
    return latency if taken is None else {**latency, "answer_ms": round(taken, 3)}


def calibrate(folder: Path, manifest: Manifest, latency: dict[str, Any]) -> Path | None:
    """Keep what was measured for later predictions of the target. None where that would mislead: an emulator's speed,
    and a device that throttled or was disturbed.
    """
    conditions = latency["conditions"]
    if latency["evidence"] != "measured":
        return None
    if reason := conditions.get("noisy") or conditions.get("throttled"):
        say(f"  not kept for predictions: {reason}")
        return None
    told = (conditions["where"], datetime.now(UTC).date().isoformat(), conditions["server"])
    decode, prefill = latency["decode_tok_s"]["p50"], latency["prefill_tok_s"]
    work = work_of(folder, manifest, conditions["prompt_tokens"], conditions["new_tokens"])
    return own_board.store(manifest.target.name, Pair(work, decode, prefill, ", ".join(told)))


def work_of(folder: Path, manifest: Manifest, prompt_tokens: int, new_tokens: int) -> Work:
    """What one request takes of the device; the cache holds the prompt and, on average, half of the answer."""
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
        return int(head.metadata.get(f"{name}.{key}", default))

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

    graph = onnx_file.read(model)
    settings = read_json(model / "genai_config.json")["model"]
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
