"""Check every candidate: parity, accuracy on the test items, latency and memory; grade the budgets and choose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedistill import accuracy, choice, latency, models, parity, plan, transport
from edgedistill.accuracy import Questions
from edgedistill.artifacts import Candidate, Candidates, Measurements
from edgedistill.engine import Messages, open_engine
from edgedistill.errors import NothingToShip
from edgedistill.files import read_json, write_json
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.perplexity import Text
from edgedistill.plan import Prediction
from edgedistill.predictor.own_board import Pair
from edgedistill.quantization import FLOAT
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig
from edgedistill.stages import reference
from edgedistill.stages.reference import Reference
from edgedistill.stages.trial import Trial, name_of
from edgedistill.store import stage
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.versions import versions


# v6: the golden answers keep the float student's likeliest tokens, so that a device is held to them too
@stage(version=6)
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
    runtimes: dict[str, str] | None = None,
) -> Measurements:
    """Measure what ships, not what was trained: candidates run in the device's own runtime.

    runtimes  what computes the candidates' figures, with versions: name -> version (engine.runtimes)

    Leaves  measurements.json; golden.jsonl; answers/<name>.jsonl of base student, tuned student and each candidate that
            is evaluated, and <name>.likelihood.jsonl, <name>.grammar.jsonl where there are options or a grammar;
            parity/<name>.jsonl and candidates/<name>.json of each of these candidates, and of the float file that they
            were made of
    Raises  NothingToShip when no candidate passes parity, after parity/ and measurements.json have been written;
            StageFailed when there is no golden case
    """
    questions = accuracy.of(tasks, config.max_tokens)
    held = reference.of(out, student, tasks, text, questions, config, seed)
    base_answers = held.taken.answers if base.key == student.key else _base_answers(out, base, questions)
    lines = _lines(Trial(out, candidates, held, questions, config), target, budgets, pair)
    chosen = choice.choose(lines, budgets, target.prefer)
    best = next((line for line in chosen if line["chosen"]), None)
    measured: dict[str, Any] = {
        "student": accuracy.student_line(base_answers, held.taken, tasks) if tasks else None,
        "candidates": [{key: value for key, value in line.items() if key != "parity_difference"} for line in chosen],
        "budgets": choice.grade(best, budgets) + choice.text_limits(best) if best else [],
        "conditions": {**_conditions(held, budgets, target, config, seed), "runtimes": runtimes or {}},
        "versions": versions(),
    }
    if held.public and tasks:
        measured["student"]["lm_eval"] = held.public
    write_json(out / "measurements.json", measured)
    write_json(out / "counts.json", _counts(chosen, best))
    if best is None:
        _refuse(measured, out)
    return Measurements(out)


def _base_answers(out: Path, base: Model, questions: Questions) -> list[accuracy.Row]:
    kept = accuracy.finished(out, "base")
    if kept is not None or not questions.items:  # the model need not be opened
        return kept or []
    with open_engine(base) as engine:
        return accuracy.answer(out, "base", engine, questions)


def _counts(lines: list[dict[str, Any]], best: dict[str, Any] | None) -> dict[str, Any]:
    evaluated = [line for line in lines if line["parity"]]
    passing = sum(line["parity"]["passed"] for line in evaluated)
    told = f"{passing} of {len(evaluated)} candidates pass parity" + (f", {best['quant']} chosen" if best else "")
    summary = told + (f"; {len(lines) - len(evaluated)} not evaluated" if len(evaluated) < len(lines) else "")
    return {"rows": len(lines), "passing": passing, "summary": summary}


def _lines(trial: Trial, target: Target, budgets: Budgets, pair: Pair | None) -> list[dict[str, Any]]:
    """Everything about each candidate, in the report's schema: those that cannot keep a budget are not evaluated, and
    those that were are judged by the float file of their export too.
    """
    rows, held = list(trial.candidates.rows()), trial.held
    predicted = [_predicted(candidate, held, target, trial.config, pair) for candidate in rows]
    problems = [
        plan.problems(target, budgets, prediction, candidate.bytes)
        for candidate, prediction in zip(rows, predicted, strict=True)
    ]
    lines = [
        _pruned(candidate, prediction, held, reasons) if reasons else _candidate(trial, candidate, prediction, target)
        for candidate, prediction, reasons in zip(rows, predicted, choice.pruned(problems), strict=True)
    ]
    evaluated = [line for line in lines if line["parity"]]
    judged = iter(parity.judged_by_source(evaluated, _sources(trial, evaluated)))
    return [next(judged) if line["parity"] else line for line in lines]


def _sources(trial: Trial, evaluated: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parity of the float files that candidates were made of, where these are not evaluated themselves."""
    formats = {line["format"] for line in evaluated} - {line["format"] for line in evaluated if _is_float(line)}
    known = [vars(candidate) for candidate in (*trial.candidates.sources(), *trial.candidates.rows())]
    found = []
    for name in sorted(formats):
        source = next((one for one in known if one["format"] == name and _is_float(one)), None)
        if source:
            result = trial.parity(Candidate(**source))
            found.append({**source, "parity": result.line(), "parity_difference": result.first_difference})
    return found


def _is_float(line: dict[str, Any]) -> bool:
    return parity.coarsest(line["tensor_types"]) in FLOAT


_DESCRIPTION = ("format", "quant", "file", "bytes", "sha256", "tensor_types", "bits_per_weight", "fitted")


def _pruned(candidate: Candidate, prediction: Prediction, held: Reference, reasons: tuple[str, ...]) -> dict[str, Any]:
    """The line of a candidate that cannot keep a budget: no more is known of it than was predicted."""
    return {
        **{key: getattr(candidate, key) for key in _DESCRIPTION},
        "parity": None,
        "accuracy": None,
        **_with_answer_ms(latency.predicted_lines(prediction, held.prompt_tokens), held),
        "rejected_because": list(reasons),
    }


def _candidate(trial: Trial, candidate: Candidate, prediction: Prediction, target: Target) -> dict[str, Any]:
    """Everything about one candidate, in the report's schema; a rerun reads candidates/<name>.json."""
    path = trial.out / "candidates" / f"{name_of(candidate.format, candidate.quant)}.json"
    if path.is_file():
        line: dict[str, Any] = read_json(path)
        return line
    found, quality = trial.run(candidate)
    held, file = trial.held, trial.candidates.file(candidate)
    timing = (
        _measured(file, candidate, trial.questions.conversations or held.said, target, held.context)
        if target.address == "local" and found.has_prompts
        else latency.predicted_lines(prediction, held.prompt_tokens)
    )
    line = {
        **{key: getattr(candidate, key) for key in _DESCRIPTION},
        "parity": found.line(),
        "parity_difference": found.first_difference,
        **quality,
        **_with_answer_ms(timing, held),
    }
    if found.has_prompts:  # what could not run may only have lacked room
        write_json(path, line)
    return line


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
        **({"golden_left_out": ", ".join(held.left_out)} if held.left_out else {}),
        "first_token_kl_max": config.first_token_kl_max,
        "answer_kl_max": config.answer_kl_max,
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
        name = name_of(line["format"], line["quant"])
        (out / "candidates" / f"{name}.json").unlink(missing_ok=True)
        reference.forget(out, name)
    first = next(line for line in lines if line["parity"])
    reason = first["rejected_because"][0]
    raise NothingToShip(
        f"no candidate reproduces the float student; {first['format']} {first['quant']}: {reason}",
        f"every case is in {out / 'parity'}, all measurements in {out / 'measurements.json'}",
        measured,
    )
