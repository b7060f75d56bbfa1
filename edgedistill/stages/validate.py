"""Check every candidate: parity, accuracy on the test items, latency and memory; grade the budgets and choose."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from edgedistill import accuracy, choice, components, golden, latency, models, parity, plan, prompts
from edgedistill.accuracy import Questions
from edgedistill.artifacts import Candidate, Candidates, Measurements
from edgedistill.engine import open_engine
from edgedistill.errors import NothingToShip
from edgedistill.files import read_json, read_rows, write_json, write_rows
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.predictor.calibration import Pair
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig
from edgedistill.store import stage
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.versions import versions

RUNTIMES = {"gguf": "llama"}
"""Format -> the file in engines/ that runs it."""

_LOG_PROBS = 50_000_000
"""Most numbers that are kept of the float student's first-token distributions; prompts beyond are not compared."""


@dataclass(frozen=True)
class Reference:
    """What the candidates are held against: the float student."""

    model: Model
    golden: list[golden.GoldenCase]
    answers: list[accuracy.Row]
    log_probs: Any
    """(some of the test items, vocabulary) float32"""
    composes: bool
    """Whether its tokenizer composes Unicode (NFC)."""


@stage(version=3)  # v3: speeds are predicted from fitted factors, and by a calibration where there is one
def validate(
    out: Path,
    candidates: Candidates,
    student: Model,
    base: Model,
    tasks: list[Task],
    target: Target,
    budgets: Budgets,
    config: ValidateConfig,
    seed: int,
    pair: Pair | None = None,
) -> Measurements:
    """Measure what ships, not what was trained: candidates run in the device's own runtime.

    Leaves  measurements.json; golden.jsonl; answers/<name>.jsonl of base student, tuned student and each candidate;
            parity/<name>.jsonl and candidates/<name>.json of each candidate
    Raises  NothingToShip when no candidate passes parity, after parity/ and measurements.json have been written;
            StageFailed when there is no golden case
    """
    questions = accuracy.of(tasks, config.max_tokens)
    reference = _reference(out, student, tasks, questions, config, seed)
    base_answers = _base_answers(out, base, questions)
    lines = [
        _candidate(out, candidates, candidate, reference, questions, target, config, pair)
        for candidate in candidates.rows()
    ]
    chosen = choice.choose(parity.judged_by_source(lines), budgets)
    best = next((line for line in chosen if line["chosen"]), None)
    measured = {
        "student": accuracy.student_line(base_answers, reference.answers, tasks),
        "candidates": [{key: value for key, value in line.items() if key != "parity_difference"} for line in chosen],
        "budgets": choice.grade(best, budgets) if best else [],
        "conditions": _conditions(reference, config, seed),
        "versions": versions(),
    }
    write_json(out / "measurements.json", measured)
    passing = sum(line["parity"]["passed"] for line in chosen)
    summary = f"{passing} of {len(lines)} candidates pass parity" + (f", {best['quant']} chosen" if best else "")
    write_json(out / "counts.json", {"rows": len(lines), "passing": passing, "summary": summary})
    if best is None:
        _refuse(measured, out)
    return Measurements(out)


def _reference(
    out: Path, student: Model, tasks: list[Task], questions: Questions, config: ValidateConfig, seed: int
) -> Reference:
    """Golden cases, answers and first-token distributions of the float student in torch."""
    path = out / "golden.jsonl"
    with open_engine(student) as engine:
        if not path.is_file():
            asked = golden.conversations(_golden_questions(tasks, config.golden_cases, seed), config.golden_cases)
            cases = golden.make(asked, engine, max_tokens=config.max_tokens, context=config.context)
            write_rows(path, [vars(case) for case in cases])
        answers = accuracy.answer(out, "tuned", engine, questions)
        compared = questions.conversations[: max(1, _LOG_PROBS // models.shape_of(student.path).vocab)]
        log_probs = engine.first_token_log_probs(compared)
        composes = golden.composes(engine)
    return Reference(student, golden.from_rows(list(read_rows(path))), answers, log_probs, composes)


def _golden_questions(tasks: list[Task], count: int, seed: int) -> list[str]:
    """Plain prompts of validation items, drawn from all tasks in turn."""
    drawn = []
    for task in tasks:
        items = Random(f"{seed}/golden/{task.name}").sample(task.validation, min(count, len(task.validation)))
        drawn.append([prompts.plain_prompt(task.info.description, item.question) for item in items])
    return [row[n] for n in range(count) for row in drawn if n < len(row)][:count]


def _base_answers(out: Path, base: Model, questions: Questions) -> list[accuracy.Row]:
    kept = accuracy.finished(out, "base")
    if kept is not None:  # the model need not be opened
        return kept
    with open_engine(base) as engine:
        return accuracy.answer(out, "base", engine, questions)


def _candidate(
    out: Path,
    candidates: Candidates,
    candidate: Candidate,
    reference: Reference,
    questions: Questions,
    target: Target,
    config: ValidateConfig,
    pair: Pair | None,
) -> dict[str, Any]:
    """Everything about one candidate, in the report's schema; a rerun reads candidates/<name>.json."""
    name = f"{candidate.format}-{candidate.quant}"
    path = out / "candidates" / f"{name}.json"
    if path.is_file():
        line: dict[str, Any] = read_json(path)
        return line
    runtime = components.load("engines", RUNTIMES[candidate.format])
    with runtime.open_gguf(candidates.file(candidate), context=config.context) as engine:
        found = parity.check(reference.golden, engine, candidate.quant, config.first_token_kl_max, config.max_tokens)
        write_rows(out / "parity" / f"{name}.jsonl", found.rows())
        measured = _quality(out, name, engine, reference, questions, found)
    line = {
        **{key: getattr(candidate, key) for key in _DESCRIPTION},
        "parity": found.line(),
        "parity_difference": found.first_difference,
        **measured,
        **_timing(candidates.file(candidate), candidate, reference, questions, target, config, pair),
    }
    write_json(path, line)
    return line


_DESCRIPTION = ("format", "quant", "file", "bytes", "sha256", "tensor_types", "bits_per_weight")


def _quality(
    out: Path, name: str, engine: Any, reference: Reference, questions: Questions, found: parity.Parity
) -> dict[str, Any]:
    """Accuracy and the shift of the first token; nothing of a file that has no usable chat template."""
    if not found.has_prompts:
        return {"accuracy": None, "kl_mean": None, "kl_p99": None, "same_top1": None}
    answers = accuracy.answer(out, name, engine, questions)
    log_probs = engine.first_token_log_probs(questions.conversations[: len(reference.log_probs)])
    return {
        "accuracy": accuracy.candidate_line(reference.answers, answers, questions.tasks),
        **accuracy.shift_line(reference.log_probs, log_probs),
    }


def _timing(
    file: Path,
    candidate: Candidate,
    reference: Reference,
    questions: Questions,
    target: Target,
    config: ValidateConfig,
    pair: Pair | None,
) -> dict[str, Any]:
    """`latency` and `memory_mib`: measured where the device is at hand, else predicted."""
    if target.address == "local":
        return _measured(file, candidate, questions, target, config)
    shape = models.shape_of(reference.model.path)
    prompt_tokens = sorted(len(case.token_ids) for case in reference.golden)[len(reference.golden) // 2]
    work = plan.work_of(shape, candidate.quant, config.context, prompt_tokens, target)
    predicted = plan.predict(
        target,
        replace(work, read_bytes=candidate.read_bytes) if work else None,
        file_bytes=candidate.bytes,
        cache_bytes=plan.kv_cache_bytes(shape, config.context),
        vocab=shape.vocab,
        pair=pair,
    )
    return latency.predicted_lines(predicted, prompt_tokens)


def _measured(
    file: Path, candidate: Candidate, questions: Questions, target: Target, config: ValidateConfig
) -> dict[str, Any]:
    device = components.load("transports", "local").open_device("local")
    threads = target.threads or int(os.environ.get("OMP_NUM_THREADS", "0")) or None
    asked = questions.conversations[:: max(1, len(questions.items) // latency.RUNS)][: latency.RUNS]
    try:
        raw = latency.measure(device, file, asked, context=config.context, threads=threads)
    finally:
        device.clean_up()
    for reason in latency.noisy_because(raw):
        say(
            f"  warning: {candidate.quant}: {reason}; the times are worse than those of a quiet machine; "
            "`--fresh validate` measures again"
        )
    return latency.measured_lines(raw, device.facts(), threads)


def _conditions(reference: Reference, config: ValidateConfig, seed: int) -> dict[str, Any]:
    """How the figures were taken."""
    composed = "composed (NFC) by the student's tokenizer; a runtime that does not compose needs composed text"
    return {
        "accuracy": "plain prompt, greedy, answer from <ans></ans>; Wilson 95%, drop by Tango 95%, exact McNemar",
        "golden_cases": len(reference.golden),
        **({"unicode": composed} if reference.composes else {}),
        "kl_prompts": len(reference.log_probs),
        "max_tokens": config.max_tokens,
        "context": config.context,
        "seed": seed,
    }


def _refuse(measured: dict[str, Any], out: Path) -> None:
    """Nothing may ship: what was measured stays readable in the stage's folder, but a rerun starts from none of it."""
    lines = measured["candidates"]
    for line in lines:
        name = f"{line['format']}-{line['quant']}"
        for kept in (out / "candidates" / f"{name}.json", accuracy.path_of(out, name)):
            kept.unlink(missing_ok=True)
    first = lines[0]
    reason = first["rejected_because"][0]
    raise NothingToShip(
        f"no candidate reproduces the float student; {first['format']} {first['quant']}: {reason}",
        f"every case is in {out / 'parity'}, all measurements in {out / 'measurements.json'}",
        measured,
    )
