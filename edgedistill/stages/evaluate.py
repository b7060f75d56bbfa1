"""What each candidate is worth on any device: parity with the float student, and accuracy on the test items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedistill import accuracy, parity
from edgedistill.accuracy import Questions
from edgedistill.artifacts import Candidate, Candidates, Evaluations
from edgedistill.engine import open_engine
from edgedistill.files import read_json, write_json
from edgedistill.models import Model
from edgedistill.perplexity import Text
from edgedistill.quantization import FLOAT
from edgedistill.sections import ValidateConfig
from edgedistill.stages import reference
from edgedistill.stages.reference import Reference
from edgedistill.stages.trial import Trial
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=1)
def evaluate(
    out: Path,
    candidates: Candidates,
    student: Model,
    base: Model,
    tasks: list[Task],
    text: Text | None,
    config: ValidateConfig,
    seed: int,
    runtimes: dict[str, str] | None = None,
    spared: tuple[str, ...] = (),
) -> Evaluations:
    """Ask every candidate, in the runtime that a device runs it with. What a device allows is not asked here.

    runtimes  what computes the figures, with versions: name -> version (engine.runtimes)
    spared    names of candidates that need not be evaluated (plan.hopeless)

    Leaves  evaluations.json; golden.jsonl; answers/<name>.jsonl of base student, tuned student and each candidate that
            is evaluated, and <name>.likelihood.jsonl, <name>.grammar.jsonl where there are options or a grammar;
            parity/<name>.jsonl and candidates/<name>.json of each of these candidates, and of the float file that they
            were made of
    Raises  StageFailed when there is no golden case; IntegrityError when a file is not what was exported
    """
    questions = accuracy.of(tasks, config.max_tokens)
    held = reference.of(out, student, tasks, text, questions, config, seed)
    base_answers = held.taken.answers if base.key == student.key else _base_answers(out, base, questions)
    trial = Trial(out, candidates, held, questions, config)
    asked = [candidate for candidate in candidates.rows() if candidate.name not in spared]
    lines = [_evaluated(trial, candidate) for candidate in asked]
    judged = parity.judged_by_source(lines, _sources(trial, lines))
    found: dict[str, Any] = {
        "student": accuracy.student_line(base_answers, held.taken, tasks) if tasks else None,
        "candidates": {candidate.name: line for candidate, line in zip(asked, judged, strict=True)},
        "reference": _facts(held),
    }
    if held.public and tasks:
        found["student"]["lm_eval"] = held.public
    write_json(out / "evaluations.json", found)
    passing = sum(line["parity"]["passed"] for line in judged)
    summary = f"{passing} of {len(judged)} candidates pass parity"
    write_json(out / "counts.json", {"rows": len(judged), "passing": passing, "summary": summary})
    return Evaluations(out)


def _base_answers(out: Path, base: Model, questions: Questions) -> list[accuracy.Row]:
    kept = accuracy.finished(out, "base")
    if kept is not None or not questions.items:  # the model need not be opened
        return kept or []
    with open_engine(base) as engine:
        return accuracy.answer(out, "base", engine, questions)


def _evaluated(trial: Trial, candidate: Candidate) -> dict[str, Any]:
    """One candidate, in the report's schema; a rerun reads candidates/<name>.json."""
    path = trial.out / "candidates" / f"{candidate.name}.json"
    if path.is_file():
        kept: dict[str, Any] = read_json(path)
        return kept
    found, quality = trial.run(candidate)
    line = {
        **candidate.description(),
        "parity": found.line(),
        "parity_difference": found.first_difference,
        "has_prompts": found.has_prompts,
        **quality,
    }
    if found.has_prompts:  # what could not run may only have lacked room
        write_json(path, line)
    return line


def _sources(trial: Trial, evaluated: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parity of the float files that candidates were made of, where these are not evaluated themselves."""
    formats = {line["format"] for line in evaluated} - {line["format"] for line in evaluated if _is_float(line)}
    known = [*trial.candidates.sources(), *trial.candidates.rows()]
    found = []
    for name in sorted(formats):
        source = next((one for one in known if one.format == name and _is_float(one.description())), None)
        if source:
            result = trial.parity(source)
            parities = {"parity": result.line(), "parity_difference": result.first_difference}
            found.append({**source.description(), **parities})
    return found


def _is_float(line: dict[str, Any]) -> bool:
    return parity.coarsest(line["tensor_types"]) in FLOAT


def _facts(held: Reference) -> dict[str, Any]:
    """What later stages ask of the float student."""
    return {
        "context": held.context,
        "prompt_tokens": held.prompt_tokens,
        "answer_tokens": held.answer_tokens,
        "golden_cases": len(held.golden),
        "golden_left_out": ", ".join(held.left_out),
        "habits": held.habits,
        "text": f"{held.reading.name}, {len(held.reading.nll):,} tokens" if held.reading else "",
        "kl": f"{held.held_out.positions} answer tokens of {len(held.held_out.rows)} held-out rows",
    }
