"""What becomes of a benchmark: budgets graded again, and its figures in the bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgedistill import bundle_manifest, bundle_texts, choice, publishing
from edgedistill.benchmark.load import FULL
from edgedistill.benchmark.run import Found
from edgedistill.bundle_manifest import Manifest
from edgedistill.errors import IntegrityError, UsageError
from edgedistill.log import say
from edgedistill.recipe import Budgets

_GRADED = ("first_token_ms", "decode_tok_s", "memory_mib")
"""Budgets that a device decides; the others are facts of the file."""
_CARD = "MODEL_CARD.md"


def into_bundle(folder: Path, found: Found) -> Manifest:
    """The manifest with the benchmark's figures, written; the model card's budgets too.

    What was measured on the target stays where this run was under an emulator or on another device, and so does what a
    full run found where this one was quick: that is told beside it, as `elsewhere`.
    """
    manifest = bundle_manifest.read(folder)
    run = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "where": found.latency["conditions"]["where"],
        "evidence": found.latency["evidence"],
        "parity": found.parity,
        "latency": _with_answer_ms(found.latency, manifest),
        "memory_mib": found.memory_mib,
    }
    before, now = _worth(manifest.chosen.get("latency")), _worth(found.latency)
    if now >= before:
        return _written(folder, manifest, {**_figures(manifest, run), "elsewhere": None})
    what = "quick" if now[0] == before[0] else "emulated" if run["evidence"] == "emulated" else "of another device"
    say(f"  the figures stay{_told(manifest.benchmark)}: this run is {what}, and is told beside them")
    return _written(folder, manifest, {"elsewhere": run})


def published(folder: Path) -> Manifest | None:
    """The manifest of a bundle that ships already; None where there is none that can be read."""
    try:
        return bundle_manifest.read(folder)
    except (UsageError, IntegrityError):
        return None


def carry_over(folder: Path, earlier: Manifest | None) -> Manifest | None:
    """The figures of an earlier bundle with the same model, in the one that took its place: they were measured on it.

    Returns  the manifest, written; None where there is nothing to carry over
    """
    manifest = bundle_manifest.read(folder)
    if not (earlier and earlier.benchmark and earlier.chosen["sha256"] == manifest.chosen["sha256"]):
        return None
    run = earlier.benchmark
    say(f"  the model is the same: the figures stay{_told(run)}")
    return _written(folder, manifest, {**_figures(manifest, run), "elsewhere": earlier.elsewhere})


def _told(run: dict[str, Any] | None) -> str:
    """`, measured on ssh://pi@board on 2026-11-21`; empty for those of a build."""
    return f", {run['evidence']} on {run['where']} on {run['when'][:10]}" if run else ""


def _figures(manifest: Manifest, run: dict[str, Any]) -> dict[str, Any]:
    """The manifest's fields that a run decides."""
    latency, memory = run["latency"], run["memory_mib"] or manifest.chosen.get("memory_mib")
    chosen = {**manifest.chosen, "latency": latency, "memory_mib": memory}
    return {"benchmark": run, "chosen": chosen, "budgets": regraded(manifest, latency, memory)}


def _written(folder: Path, manifest: Manifest, changed: dict[str, Any]) -> Manifest:
    updated, card = manifest.model_copy(update=changed), folder / _CARD
    texts = {}
    if card.is_file():
        texts[_CARD] = bundle_texts.with_budgets(card.read_text(encoding="utf-8"), updated.budgets)
    return publishing.rewrite(folder, updated, texts)


def regraded(manifest: Manifest, latency: dict[str, Any], memory: dict[str, Any] | None) -> tuple[dict[str, Any], ...]:
    """The bundle's budgets, those on speed and memory by new figures."""
    limits = {budget["name"]: budget["limit"] for budget in manifest.budgets if budget["name"] in _GRADED}
    line = {**manifest.chosen, "latency": latency, "memory_mib": memory, "accuracy": None}
    graded = {budget["name"]: budget for budget in choice.grade(line, Budgets(**limits))}
    return tuple(graded.get(budget["name"], budget) for budget in manifest.budgets)


def _worth(latency: dict[str, Any] | None) -> tuple[bool, bool]:
    """Whether it was measured on a device of the target's kind, then whether in full: the larger one stays."""
    if not latency:
        return False, False
    conditions = latency["conditions"]
    is_of_target = latency["evidence"] == "measured" and not conditions.get("other_device")
    return is_of_target, conditions.get("extent") == FULL.name


def _with_answer_ms(latency: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """With how long an answer of the task's usual length takes, where the bundle knows it."""
    tokens = manifest.conditions.get("answer_tokens")
    taken = choice.answer_ms(latency, tokens) if tokens else None
    return latency if taken is None else {**latency, "answer_ms": round(taken, 3)}
