"""`plan`: what a build would run and whether the student can fit, before any time is spent. Imports nothing heavy."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from edgedistill import build as line
from edgedistill import models, plan, table
from edgedistill import recipe as recipes
from edgedistill import target as targets
from edgedistill.plan import Estimate, Fit
from edgedistill.recipe import Recipe
from edgedistill.report import words
from edgedistill.store import Step, Store
from edgedistill.target import Target

_LOOKS: table.Styles = {"fits": {"fg": "green"}, "does not fit": {"fg": "red", "bold": True}}


def run(*, target: str, recipe: str | None, overrides: tuple[str, ...], runs: Path, as_json: bool) -> int:
    """Print stages and fit. 1 when no quantization of the student fits the target, else 0."""
    device = targets.load(target)
    made = recipes.load(recipe or device.default_recipe, overrides)
    store = Store(runs, dry=True)
    line.build(store, made, device)
    fits = _fits(made, device)
    code = 0 if not fits or any(fit.fits for fit in fits) else 1
    if as_json:
        click.echo(json.dumps(_as_json(made, device, store.steps, fits, code), indent=2))
    else:
        click.echo("\n".join(_page(made, device, store.steps, fits)))
    return code


def _fits(made: Recipe, device: Target) -> list[Fit]:
    """One per quantization that the exporter would write; none for an exporter that names no quants."""
    shape = models.resolve(made.student, made.folder, "student").shape()
    budgets = device.budgets.replaced_by(made.budgets)
    quants: tuple[str, ...] = getattr(made.package, "quants", ())
    return [plan.fit(shape, device, budgets, quant, made.validation.context) for quant in quants]


def _page(made: Recipe, device: Target, steps: list[Step], fits: list[Fit]) -> list[str]:
    todo = [step.name for step in steps if step.status != "cached"]
    head = f"{made.name} on {device.name}: {len(todo)} of {len(steps)} stages would run"
    rows = [(step.name, step.status, step.key[:8], step.summary) for step in steps]
    lines = [click.style(head, bold=True), *table.lines(("stage", "status", "key", ""), rows), ""]
    columns = ("quant", "file", "KV cache", "memory", "first token", "decode", "ceiling", "verdict")
    body = [_row(fit) for fit in fits]
    lines += table.lines(columns, body, right=columns[1:-1], styles=_LOOKS) if body else []
    lines += [f"  {fit.quant}: {problem}" for fit in fits for problem in fit.problems]
    lines += [f"  {fit.quant}: {_fallbacks(fit)}" for fit in fits if fit.fallbacks]
    if fits:
        context = made.validation.context
        lines += ["", f"Predicted for {device.title}, with 80% intervals, for a context of {context:,} tokens.",
                  "Nothing here is measured: a build says what is."]  # fmt: skip
    return lines


def _row(fit: Fit) -> tuple[str, ...]:
    predicted = fit.prediction
    return (
        fit.quant,
        words.size(fit.file_bytes),
        words.size(fit.cache_bytes),
        _estimate(predicted.memory_mib, "MiB"),
        _estimate(predicted.first_token_ms, "ms"),
        _estimate(predicted.decode_tok_s, "tok/s"),
        f"{words.number(fit.ceiling_tok_s)} tok/s" if fit.ceiling_tok_s else "-",
        "fits" if fit.fits else "does not fit",
    )


def _estimate(found: Estimate | None, unit: str) -> str:
    """`13 to 28 ms`: an estimate is its interval."""
    return f"{words.number(found.low)} to {words.number(found.high)} {unit}" if found else "-"


def _fallbacks(fit: Fit) -> str:
    kinds = ", ".join(f"{count} as {kind}" for kind, count in sorted(Counter(fit.fallbacks.values()).items()))
    return f"{len(fit.fallbacks)} tensors have rows that 256 does not divide; llama.cpp stores {kinds}"


def _as_json(made: Recipe, device: Target, steps: list[Step], fits: list[Fit], code: int) -> dict[str, object]:
    return {
        "schema": "edgedistill.plan/1",
        "recipe": made.name,
        "target": device.name,
        "exit_code": code,
        "stages": [{"name": s.name, "key": s.key, "status": s.status, "rows": s.rows} for s in steps],
        "fits": [{**asdict(fit), "fits": fit.fits} for fit in fits],
    }
