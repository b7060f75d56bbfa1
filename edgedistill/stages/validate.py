"""Check every candidate: parity, accuracy on the test items, latency and memory; grade the budgets and choose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedistill import accuracy, choice, latency, models, parity, plan, transport
from edgedistill.accuracy import Questions
from edgedistill.artifacts import Candidate, Candidates, Measurements
from edgedistill.engine import Messages, open_engine, open_file
from edgedistill.errors import NothingToShip
from edgedistill.files import read_json, write_json, write_rows
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.perplexity import Text
from edgedistill.plan import Prediction
from edgedistill.predictor.calibration import Pair
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig
from edgedistill.stages import reference
from edgedistill.stages.reference import Reference
from edgedistill.store import stage
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.versions import versions


# v5: the limit of parity is told, so that a device can be held to it
@stage(version=5)
def validate(
    out: Path,
    candidates: Candidates,
    student: Model,
    base: Model,
    tasks: list[Task],
    text: Text | None,
    target: Target,
    budgets: Budgets,
    config: ValidateConfig,
    seed: int,
    pair: Pair | None = None,
) -> Measurements:
    """Measure what ships, not what was trained: candidates run in the device's own runtime.

    Leaves  measurements.json; golden.jsonl; answers/<name>.jsonl of base student, tuned student and each candidate that
            is evaluated, and <name>.likelihood.jsonl, <name>.grammar.jsonl where there are options or a grammar;
            parity/<name>.jsonl and candidates/<name>.json of each of these candidates
    Raises  NothingToShip when no candidate passes parity, after parity/ and measurements.json have been written;
            StageFailed when there is no golden case
    """
    questions = accuracy.of(tasks, config.max_tokens)
    held = reference.of(out, student, tasks, text, questions, config, seed)
    base_answers = held.taken.answers if base.key == student.key else _base_answers(out, base, questions)
    rows = list(candidates.rows())
    predicted = [_predicted(candidate, held, target, config, pair) for candidate in rows]
    problems = [
        plan.problems(target, budgets, prediction, candidate.bytes)
        for candidate, prediction in zip(rows, predicted, strict=True)
    ]
    lines = [
        _pruned(candidate, prediction, held, reasons)
        if reasons
        else _candidate(out, candidates, candidate, prediction, held, questions, target, config)
        for candidate, prediction, reasons in zip(rows, predicted, choice.pruned(problems), strict=True)
    ]
    chosen = choice.choose(_judged(lines), budgets, target.prefer)
    best = next((line for line in chosen if line["chosen"]), None)
    measured: dict[str, Any] = {
        "student": accuracy.student_line(base_answers, held.taken, tasks) if tasks else None,
        "candidates": [{key: value for key, value in line.items() if key != "parity_difference"} for line in chosen],
        "budgets": choice.grade(best, budgets) + choice.text_limits(best) if best else [],
        "conditions": _conditions(held, budgets, target, config, seed),
        "versions": versions(),
    }
    if held.public and tasks:
        measured["student"]["lm_eval"] = held.public
    write_json(out / "measurements.json", measured)
    evaluated = [line for line in chosen if line["parity"]]
    passing = sum(line["parity"]["passed"] for line in evaluated)
    told = f"{passing} of {len(evaluated)} candidates pass parity" + (f", {best['quant']} chosen" if best else "")
    summary = told + (f"; {len(rows) - len(evaluated)} not evaluated" if len(evaluated) < len(rows) else "")
    write_json(out / "counts.json", {"rows": len(lines), "passing": passing, "summary": summary})
    if best is None:
        _refuse(measured, out)
    return Measurements(out)


def _base_answers(out: Path, base: Model, questions: Questions) -> list[accuracy.Row]:
    kept = accuracy.finished(out, "base")
    if kept is not None or not questions.items:  # the model need not be opened
        return kept or []
    with open_engine(base) as engine:
        return accuracy.answer(out, "base", engine, questions)


def _judged(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines in their order, those that were evaluated judged by their source too."""
    judged = iter(parity.judged_by_source([line for line in lines if line["parity"]]))
    return [next(judged) if line["parity"] else line for line in lines]


_DESCRIPTION = ("format", "quant", "file", "bytes", "sha256", "tensor_types", "bits_per_weight")


def _pruned(candidate: Candidate, prediction: Prediction, held: Reference, reasons: tuple[str, ...]) -> dict[str, Any]:
    """The line of a candidate that cannot keep a budget: no more is known of it than was predicted."""
    return {
        **{key: getattr(candidate, key) for key in _DESCRIPTION},
        "parity": None,
        "accuracy": None,
        **_with_answer_ms(latency.predicted_lines(prediction, held.prompt_tokens), held),
        "rejected_because": list(reasons),
    }


def _candidate(
    out: Path,
    candidates: Candidates,
    candidate: Candidate,
    prediction: Prediction,
    held: Reference,
    questions: Questions,
    target: Target,
    config: ValidateConfig,
) -> dict[str, Any]:
    """Everything about one candidate, in the report's schema; a rerun reads candidates/<name>.json."""
    name = _name(candidate.format, candidate.quant)
    path = out / "candidates" / f"{name}.json"
    if path.is_file():
        line: dict[str, Any] = read_json(path)
        return line
    file = candidates.whole_file(candidate)
    with open_file(file, candidate.format, context=held.context) as engine:
        limits = config.first_token_kl_max, config.max_tokens
        found = parity.check(held.golden, engine, candidate.quant, *limits)
        write_rows(out / "parity" / f"{name}.jsonl", found.rows())
        quality = reference.compare(out, name, engine, held, questions, config, found)
    timing = (
        _measured(file, candidate, questions.conversations or held.said, target, held.context)
        if target.address == "local"
        else latency.predicted_lines(prediction, held.prompt_tokens)
    )
    line = {
        **{key: getattr(candidate, key) for key in _DESCRIPTION},
        "parity": found.line(),
        "parity_difference": found.first_difference,
        **quality,
        **_with_answer_ms(timing, held),
    }
    write_json(path, line)
    return line


def _name(format_name: str, quant: str) -> str:
    return f"{format_name}-{quant}"


def _predicted(
    candidate: Candidate, held: Reference, target: Target, config: ValidateConfig, pair: Pair | None
) -> Prediction:
    shape = models.shape_of(held.model.path)
    return plan.predict(
        target,
        plan.work_of(shape, candidate, config.context, held.prompt_tokens, target),
        file_bytes=candidate.bytes,
        cache_bytes=plan.kv_cache_bytes(shape, config.context),
        vocab=shape.vocab,
        pair=pair,
    )


def _with_answer_ms(timing: dict[str, Any], held: Reference) -> dict[str, Any]:
    """`latency` and `memory_mib` with the time of a whole answer."""
    taken = choice.answer_ms(timing["latency"], held.answer_tokens)
    if taken is None:
        return timing
    return {**timing, "latency": {**timing["latency"], "answer_ms": round(taken, 3)}}


def _measured(
    file: Path, candidate: Candidate, conversations: Sequence[Messages], target: Target, context: int
) -> dict[str, Any]:
    threads = target.threads or int(os.environ.get("OMP_NUM_THREADS", "0")) or None
    asked = conversations[:: max(1, len(conversations) // latency.RUNS)][: latency.RUNS]
    with transport.open_device("local") as device:
        facts = device.facts().conditions("local")
        raw = latency.measure(device, file, asked, context=context, threads=threads, format_name=candidate.format)
    for reason in latency.noisy_because(raw):
        say(
            f"  warning: {candidate.quant}: {reason}; the times are worse than those of a quiet machine; "
            "`--fresh validate` measures again"
        )
    return latency.measured_lines(raw, facts, threads)


def _conditions(held: Reference, budgets: Budgets, target: Target, config: ValidateConfig, seed: int) -> dict[str, Any]:
    """How the figures were taken."""
    return {
        "accuracy": (
            "plain prompt, greedy, answer from <ans></ans>; Wilson 95%, drop by Tango 95% and a paired bootstrap of "
            "10,000, exact McNemar"
        ),
        "gate": f"{config.gate}; both intervals of the drop within {budgets.margin:g}",
        "preference": target.prefer,
        "answer_tokens": held.answer_tokens,
        "golden_cases": len(held.golden),
        "first_token_kl_max": config.first_token_kl_max,
        **held.habits,
        **({"text": f"{held.reading.name}, {len(held.reading.nll):,} tokens"} if held.reading else {}),
        "kl": f"{held.held_out.positions} answer tokens of {len(held.held_out.rows)} held-out rows",
        "max_tokens": config.max_tokens,
        "context": held.context,
        "seed": seed,
    }


def _refuse(measured: dict[str, Any], out: Path) -> None:
    """Nothing may ship: what was measured stays readable in the stage's folder, but a rerun starts from none of it."""
    lines = measured["candidates"]
    for line in lines:
        name = _name(line["format"], line["quant"])
        (out / "candidates" / f"{name}.json").unlink(missing_ok=True)
        reference.forget(out, name)
    first = next(line for line in lines if line["parity"])
    reason = first["rejected_because"][0]
    raise NothingToShip(
        f"no candidate reproduces the float student; {first['format']} {first['quant']}: {reason}",
        f"every case is in {out / 'parity'}, all measurements in {out / 'measurements.json'}",
        measured,
    )
