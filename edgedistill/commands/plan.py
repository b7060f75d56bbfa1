"""`plan`: what a build would run and whether the student can fit, before any time is spent. Imports nothing heavy."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from edgedistill import accelerators, cost, inputs, needs, placement, plan, shapes, table
from edgedistill import build as line
from edgedistill import recipe as recipes
from edgedistill import target as targets
from edgedistill.accelerators import Accelerator
from edgedistill.cost import Work
from edgedistill.models import Model, Shape
from edgedistill.needs import Need
from edgedistill.placement import Machine
from edgedistill.plan import Fit
from edgedistill.predictor import own_board
from edgedistill.predictor.estimate import Estimate
from edgedistill.predictor.parameters import BASIS
from edgedistill.quants import QuantEntry
from edgedistill.recipe import Recipe
from edgedistill.report import words
from edgedistill.sections import ModelConfig
from edgedistill.store import Step, Store
from edgedistill.target import Target

_HEAD_TYPES = ("Q4_K", "IQ4_NL", "Q5_K", "Q6_K", "Q8_0", "F16")
"""Whose cost for the head is shown."""
_LOOKS: table.Styles = {"fits": {"fg": "green"}, "does not fit": {"fg": "red", "bold": True}}


@dataclass(frozen=True)
class _Cost:
    """The work of a recipe, and how long one accelerator takes for it, where that can be said."""

    works: list[Work]
    hours: list[Estimate | None]
    problems: list[str]
    on: Accelerator | None
    needs: list[Need]
    here: Machine


def run(
    *,
    target: str,
    recipe: str | None,
    overrides: tuple[str, ...],
    runs: Path,
    as_json: bool,
    accelerator: str | None = None,
    test_items: Path | None = None,
    student: str | None = None,
    chat_template: str | None = None,
    text: str | None = None,
) -> int:
    """Print stages, cost and fit. 1 when no quantization of the student fits the target, else 0."""
    device = targets.load(target)
    alone = {"student": student, "chat_template": chat_template, "text": text}
    made = inputs.for_target(recipes.asked(recipe, overrides, device.default_recipe, **alone), device)
    named = accelerator or made.cost.accelerator
    on = accelerators.find(named) if named else None
    store = Store(runs, dry=True)
    line.build(store, made, device, test_items)
    tasks, *opened = inputs.open_all(made, test_items=test_items, may_fetch=False)
    models = {role: model for role, model in zip(("teacher", "student"), opened, strict=True) if model}
    others = inputs.respondents(made, may_fetch=False)
    shape = {role: _shape(model, getattr(made, role)) for role, model in models.items()}
    sized = shape["student"]
    fits = _fits(made, device, sized)
    head = plan.head_bytes(sized, _HEAD_TYPES) if fits and sized else {}
    spent = _cost(cost.count(made, tasks) if made.distill else [], shape, on, needs.of(made, shape))
    notes = _notes(shape, list(models.values()), inputs.missing(tasks, [*models.values(), *others]))
    code = 0 if not fits or any(fit.fits for fit in fits) else 1
    if as_json:
        click.echo(json.dumps(_as_json(made, device, store.steps, fits, head, spent, notes, code), indent=2))
    else:
        click.echo("\n".join(_page(made, device, store.steps, fits, head, spent, notes)))
    return code


def _shape(model: Model, config: ModelConfig) -> Shape | None:
    """From the files; of a hub model that is not here yet, as the recipe states it. None where nobody says."""
    if model.server is None and model.is_here:
        return model.shape()
    return shapes.stated(config.shape) if config.shape else None


def _fits(made: Recipe, device: Target, shape: Shape | None) -> list[Fit]:
    """One per GGUF file that a build would write."""
    budgets = device.budgets.replaced_by(made.budgets)
    listed = [quant for config in made.package for quant in getattr(config, "quants", ())]
    quants = [quant for quant in listed if isinstance(quant, QuantEntry)]
    pair, context = own_board.stored(device.name), made.validation.context
    return [plan.fit(shape, device, budgets, quant, context, pair=pair) for quant in quants if shape]


def _cost(works: list[Work], shape: dict[str, Shape | None], on: Accelerator | None, needed: list[Need]) -> _Cost:
    known = [(work, shape[work.role]) for work in works]
    hours = [cost.hours(work, size, on) if size and on else None for work, size in known]
    problems = [needs.problem(need, on) for need in needed] if on else []
    here = Machine(accelerators.seen(), accelerators.free_main())
    return _Cost(works, hours, [problem for problem in problems if problem], on, needed, here)


def _notes(shape: dict[str, Shape | None], models: list[Model], missing: list[str]) -> list[str]:
    """What a build still needs, and what cannot be foretold for the lack of it."""
    unknown = [
        f"{role}: its size is unknown until it is downloaded; state it as `{role}.shape`"
        for (role, size), model in zip(shape.items(), models, strict=True)
        if size is None and model.server is None
    ]
    return [*missing, *unknown]


def _page(
    made: Recipe,
    device: Target,
    steps: list[Step],
    fits: list[Fit],
    head_bytes: dict[str, int],
    spent: _Cost,
    notes: list[str],
) -> list[str]:
    todo = [step.name for step in steps if step.status != "cached"]
    head = f"{made.name} on {device.name}: {len(todo)} of {len(steps)} stages would run"
    rows = [(step.name, step.status, step.key[:8], step.summary) for step in steps]
    lines = [click.style(head, bold=True), *table.lines(("stage", "status", "key", ""), rows), ""]
    lines += [*_heading("Still to come"), *_wrapped(notes), ""] if notes else []
    lines += [*_heading("Work"), *_cost_lines(spent), ""] if spent.works else []
    lines += [*_heading("Memory for weights"), *_need_lines(spent), ""] if spent.needs else []
    columns = ("quant", "file", "KV cache", "memory", "first token", "decode", "ceiling", "verdict")
    body = [_row(fit) for fit in fits]
    lines += (
        [*_heading(f"Fit on {device.name}"), *table.lines(columns, body, right=columns[1:-1], styles=_LOOKS)]
        if body
        else []
    )
    lines += [f"  {fit.quant}: {problem}" for fit in fits for problem in fit.problems]
    lines += [f"  {fit.quant}: {_fallbacks(fit)}" for fit in fits if fit.fallbacks]
    lines += [f"  {_head(head_bytes)}"] if head_bytes else []
    if fits:
        context = made.validation.context
        first = next((fit.prediction for fit in fits if fit.prediction.basis), fits[0].prediction)
        lines += ["", f"Predicted for {device.title}, with 80% intervals, for a context of {context:,} tokens.",
                  f"Speeds by {BASIS.get(first.basis, first.basis)}." if first.basis else f"No speeds: {first.reason}.",
                  "Nothing here is measured: a build says what is."]  # fmt: skip
    return lines


def _heading(text: str) -> list[str]:
    return [click.style(text, bold=True)]


def _wrapped(notes: list[str]) -> list[str]:
    """Paragraphs that a terminal need not break in the middle of a word."""
    shaped = textwrap.TextWrapper(118, initial_indent=table.INDENT, subsequent_indent=2 * table.INDENT)
    return [line for note in notes for told in note.split("\n") for line in shaped.wrap(told)]


def _need_lines(spent: _Cost) -> list[str]:
    """Each model in each stage; how many accelerators hold it, and whether this machine does."""
    gpus, on = len(spent.here.gpus), spent.on
    head = ("stage", "model", "as", "size", *((on.name,) if on else ()), "here")
    rows = []
    for need in spent.needs:
        count = needs.gpus(need, on) if on else None
        told = "-" if need.is_in_main else "too small" if count is None else f"{count}"
        fits = "fits" if needs.fits(need, spent.here) else "does not fit"
        rows.append((need.stage, need.role, need.how, placement.gib(need.on_gpu.size), *((told,) if on else ()), fits))
    seen = f"{gpus} GPU{'s' if gpus > 1 else ''} with {placement.gib(sum(spent.here.gpus))}" if gpus else "no GPU"
    cpu = "" if gpus else ", where bfloat16 becomes float32"
    here = f"Here: {seen}, and {placement.gib(spent.here.main)} of main memory free{cpu}."
    return [*table.lines(head, rows, right=head[3:-1], styles=_LOOKS), *_wrapped([here, *spent.problems])]


def _cost_lines(spent: _Cost) -> list[str]:
    """Calls and tokens by stage, hours where the accelerator and the model's size are known."""
    head = ("stage", "work", "calls", "tokens read", "tokens written", *(("time",) if spent.on else ()))
    rows = [
        (
            work.stage,
            work.what,
            f"{work.calls:,}",
            f"{work.read:,.0f}",
            f"{work.written:,.0f}" if work.written else "-",
            *((_time(estimate),) if spent.on else ()),
        )
        for work, estimate in zip(spent.works, spent.hours, strict=True)
    ]
    told = [f"{work.stage}: {work.detail}" for work in spent.works if work.detail]
    lines = table.lines(head, rows, right=head[2:]) + [f"  {line}" for line in told]
    if spent.on is None:
        return [*lines, "", "Counted, not measured. `--accelerator NAME` estimates hours: "
                + ", ".join(accelerator.name for accelerator in accelerators.TABLE) + "."]  # fmt: skip
    known = [estimate for estimate in spent.hours if estimate]
    total = Estimate(*(sum(getattr(e, end) for e in known) for end in ("value", "low", "high")))
    missing = "" if len(known) == len(spent.works) else ", without the work of models whose size is unknown"
    return [*lines, "", f"{_time(total)} on {spent.on.title}{missing}: an order of magnitude, nothing here is "
            "measured."]  # fmt: skip


def _time(estimate: Estimate | None) -> str:
    """`1h 12m to 10h 48m`: an estimate is its interval."""
    return " to ".join(words.duration(3600 * end) for end in (estimate.low, estimate.high)) if estimate else "unknown"


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


def _head(sizes: dict[str, int]) -> str:
    """The head's type is a choice of its own; with tied embeddings it is the type of both."""
    told = ", ".join(f"{kind} {words.size(size)}" for kind, size in sizes.items())
    return f"head: {told}; `{{quant: Q4_K_M, head: Q8_0}}` sets its type"


def _as_json(
    made: Recipe,
    device: Target,
    steps: list[Step],
    fits: list[Fit],
    head_bytes: dict[str, int],
    spent: _Cost,
    notes: list[str],
    code: int,
) -> dict[str, object]:
    return {
        "schema": "edgedistill.plan/1",
        "recipe": made.name,
        "target": device.name,
        "exit_code": code,
        "notes": notes,
        "stages": [{"name": s.name, "key": s.key, "status": s.status, "rows": s.rows} for s in steps],
        "cost": {
            "accelerator": asdict(spent.on) if spent.on else None,
            "work": [
                {**asdict(work), "hours": asdict(estimate) if estimate else None}
                for work, estimate in zip(spent.works, spent.hours, strict=True)
            ],
            "problems": spent.problems,
        },
        "weights": [
            {
                "stage": need.stage,
                "role": need.role,
                "how": need.how,
                "bytes": need.on_gpu.size,
                "accelerators": needs.gpus(need, spent.on) if spent.on else None,
                "fits_here": needs.fits(need, spent.here),
            }
            for need in spent.needs
        ],
        "fits": [{**asdict(fit), "fits": fit.fits} for fit in fits],
        "head_bytes": head_bytes,
    }
