"""Hold the candidates against a device: latency and memory; grade the budgets and choose what ships."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import accuracy, choice, golden, latency, models, plan, transport
from edgedistill.artifacts import Candidate, Candidates, Evaluations, Measurements
from edgedistill.engine import Messages
from edgedistill.errors import NothingToShip
from edgedistill.files import read_json, read_rows, write_json
from edgedistill.log import say
from edgedistill.models import Model, Shape
from edgedistill.predictor.own_board import Pair
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig
from edgedistill.store import stage
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.versions import versions


# v7: parity and accuracy come from `evaluate`, once for all devices
@stage(version=7)
def validate(
    out: Path,
    evaluations: Evaluations,
    candidates: Candidates,
    student: Model,
    tasks: list[Task],
    target: Target,
    budgets: Budgets,
    config: ValidateConfig,
    seed: int,
    runtimes: dict[str, str] | None = None,
    pair: Pair | None = None,
    hopeless: dict[str, tuple[str, ...]] | None = None,
) -> Measurements:
    """Measure what ships, not what was trained: candidates run in the device's own runtime.

    runtimes  what computes the candidates' figures, with versions: name -> version (engine.runtimes)
    pair      measured on the user's own device: calibrates predictions
    hopeless  candidate -> why it was not evaluated (plan.hopeless)

    Leaves  measurements.json; golden.jsonl; times/<name>.json of each candidate that was measured here
    Raises  NothingToShip when no candidate passes parity, after measurements.json has been written
    """
    found, reasons = evaluations.read(), hopeless or {}
    clock = _Clock(out, target, models.shape_of(student.path), config.context, pair, found["reference"])
    asked = accuracy.of(tasks, config.max_tokens).conversations or _said(evaluations)
    lines = []
    for candidate in candidates.rows():
        known = found["candidates"].get(candidate.name) or _not_evaluated(candidate, reasons[candidate.name])
        timing = clock.timing(candidates.file(candidate), candidate, asked if known["has_prompts"] else [])
        lines.append({**known, **timing})
    chosen = choice.choose(lines, budgets, target.prefer)
    best = next((line for line in chosen if line["chosen"]), None)
    measured: dict[str, Any] = {
        "student": found["student"],
        "candidates": [{key: value for key, value in line.items() if key not in _INNER} for line in chosen],
        "budgets": choice.grade(best, budgets) + choice.text_limits(best) if best else [],
        "conditions": {**_conditions(found["reference"], budgets, target, config, seed), "runtimes": runtimes or {}},
        "versions": versions(),
    }
    shutil.copyfile(evaluations.golden, out / "golden.jsonl")
    write_json(out / "measurements.json", measured)
    write_json(out / "counts.json", _counts(chosen, best))
    if best is None:
        _refuse(measured, evaluations)
    return Measurements(out)


_INNER = ("parity_difference", "has_prompts")
"""Of a candidate's line, and no part of the report."""


@dataclass(frozen=True)
class _Clock:
    """Candidates are timed here when the target is this machine, else by prediction."""

    out: Path
    target: Target
    shape: Shape
    context: int
    pair: Pair | None
    facts: dict[str, Any]
    """Of the float student."""

    def timing(self, file: Path, candidate: Candidate, conversations: Sequence[Messages]) -> dict[str, Any]:
        """`latency` and `memory_mib` of the report's schema, with the time of a whole answer. Without conversations it
        is predicted. A rerun reads times/<name>.json."""
        if self.target.address != "local" or not conversations:
            return self._with_answer_ms(self._predicted(candidate))
        path = self.out / "times" / f"{candidate.name}.json"
        if not path.is_file():
            write_json(path, timed(file, candidate, conversations, self.target, self.facts["context"]))
        return self._with_answer_ms(read_json(path))

    def _predicted(self, candidate: Candidate) -> dict[str, Any]:
        tokens = self.facts["prompt_tokens"]
        found = plan.predict_file(self.target, self.shape, candidate, self.context, tokens, self.pair)
        return latency.predicted_lines(found, tokens)

    def _with_answer_ms(self, timing: dict[str, Any]) -> dict[str, Any]:
        taken = choice.answer_ms(timing["latency"], self.facts["answer_tokens"])
        if taken is None:
            return timing
        return {**timing, "latency": {**timing["latency"], "answer_ms": round(taken, 3)}}


def timed(
    file: Path, candidate: Candidate, conversations: Sequence[Messages], target: Target, context: int
) -> dict[str, Any]:
    """Latency and memory of one candidate on this machine."""
    threads = target.threads or int(os.environ.get("OMP_NUM_THREADS", "0")) or None
    asked = conversations[:: max(1, len(conversations) // latency.RUNS)][: latency.RUNS]
    with transport.open_device("local") as device:
        facts = device.facts().conditions("local")
        raw = latency.measure(device, file, asked, context=context, threads=threads, format_name=candidate.format)
    if reasons := latency.noisy_because(raw):
        say(f"  warning: {candidate.quant}: {'; '.join(reasons)}; `--fresh validate` measures again on a quiet machine")
    return latency.measured_lines(raw, facts, threads)


def _said(evaluations: Evaluations) -> list[Messages]:
    """The golden cases' conversations, where there is no task."""
    return [case.messages for case in golden.from_rows(list(read_rows(evaluations.golden)))]


def _not_evaluated(candidate: Candidate, reasons: tuple[str, ...]) -> dict[str, Any]:
    """The line of a candidate that cannot keep a budget: no more will be known of it than is predicted."""
    nothing = {"parity": None, "accuracy": None, "has_prompts": False}
    return {**candidate.description(), **nothing, "rejected_because": list(reasons)}


def _counts(lines: list[dict[str, Any]], best: dict[str, Any] | None) -> dict[str, Any]:
    evaluated = [line for line in lines if line["parity"]]
    passing = sum(line["parity"]["passed"] for line in evaluated)
    told = f"{passing} of {len(evaluated)} candidates pass parity" + (f", {best['quant']} chosen" if best else "")
    summary = told + (f"; {len(lines) - len(evaluated)} not evaluated" if len(evaluated) < len(lines) else "")
    return {"rows": len(lines), "passing": passing, "summary": summary}


def _conditions(
    facts: dict[str, Any], budgets: Budgets, target: Target, config: ValidateConfig, seed: int
) -> dict[str, Any]:
    """How the figures were taken."""
    return {
        "accuracy": (
            "plain prompt, greedy, answer from <ans></ans>; Wilson 95%, drop by Tango 95% and a paired bootstrap of "
            "10,000, exact McNemar"
        ),
        "gate": f"{config.gate}; both intervals of the drop within {budgets.margin:g}",
        "preference": target.prefer,
        "answer_tokens": facts["answer_tokens"],
        "golden_cases": facts["golden_cases"],
        **({"golden_left_out": facts["golden_left_out"]} if facts["golden_left_out"] else {}),
        "first_token_kl_max": config.first_token_kl_max,
        "answer_kl_max": config.answer_kl_max,
        **facts["habits"],
        **({"text": facts["text"]} if facts["text"] else {}),
        "kl": facts["kl"],
        "max_tokens": config.max_tokens,
        "context": facts["context"],
        "seed": seed,
    }


def _refuse(measured: dict[str, Any], evaluations: Evaluations) -> None:
    """Nothing may ship: what was measured stays readable."""
    first = next(line for line in measured["candidates"] if line["parity"])
    raise NothingToShip(
        f"no candidate reproduces the float student; {first['format']} {first['quant']}: "
        f"{first['rejected_because'][0]}",
        f"every case is in {evaluations.path / 'parity'}; `--fresh evaluate` asks the candidates again",
        measured,
    )
