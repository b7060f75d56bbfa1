"""Stage 2: every draft is scored by how much it helps the student; best and worst become pairs for DPO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgedistill import context, exam, pairs, scoring
from edgedistill.artifacts import Draft, Drafts, Pair, Preferences, Score
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.sections import PreferConfig
from edgedistill.shards import on_demand
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=2)  # v2: scores say how many items they rest on, and their standard error
def prefer(
    out: Path,
    drafts: Drafts,
    student: Model,
    tasks: list[Task],
    config: PreferConfig,
    seed: int,
    respondents: Sequence[Model] = (),
) -> Preferences:
    """Choose an exam, score every draft on it with the config's signal, and pair the best with the worst.

    respondents     the models of `config.respondents`, opened; they help to choose the exam

    Leaves  exam.jsonl       task, id; chosen by item response theory also discrimination and difficulty
            responses.jsonl  then: task, model, shots, hand, hits (one 0 or 1 per validation item)
            scores.jsonl     draft_id, task, score (0-1), hits or values per exam item, answered, error
            pairs.jsonl      task, level (question, rationale), prompt, chosen, rejected, margin (0-1)
            counts.json      per task: pairs by level, and the pairs that were dropped, by reason; how the exam was
                             chosen, and the share of the exact mode's text that was spent
    Raises  UsageError when validation.jsonl has fewer items than the exam asks for, or the student no room for one
            StageFailed when no pair is left
    Source  ARTE, arXiv:2406.19227v1, sec. 3.2, 3.3 and appendices E, G. Racing is ours, and so is that drafts which the
            student has no room for, ties and small gaps are dropped
    """
    context.check(student, tasks, config)
    asked = exam.sit(out, [student, *respondents], tasks, config, seed) if config.exam == "irt" else []
    exams = {task.name: exam.choose(task, config, seed, _of(task, asked)) for task in tasks}
    write_rows(out / "exam.jsonl", [row for chosen in exams.values() for row in chosen.rows])
    if asked:
        write_rows(out / "responses.jsonl", asked)
    own = {task.name: [draft for draft in drafts.rows() if draft.task == task.name] for task in tasks}
    fitting = {task.name: context.fitting(own[task.name], student, task, config) for task in tasks}
    scored = _score(out, fitting, exams, student, tasks, config, seed)
    made: list[Pair] = []
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    for task in tasks:
        scores, counts = {score.draft_id: score.score for score in scored[task.name].scores}, by_task[task.name]
        if too_long := len(own[task.name]) - len(fitting[task.name]):
            counts["draft_too_long"] = too_long
        made += pairs.make(fitting[task.name], scores, task, config, seed, counts)
    everyone = [score for one in scored.values() for score in one.scores]
    write_rows(out / "scores.jsonl", map(asdict, everyone))
    write_rows(out / "pairs.jsonl", map(asdict, made))
    if not made:
        raise _no_pair(everyone, config, by_task)
    return _finish(out, made, everyone, by_task, exams, scored)


def _of(task: Task, responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in responses if row["task"] == task.name]


def _score(
    out: Path,
    drafts: dict[str, list[Draft]],
    exams: dict[str, exam.Exam],
    student: Model,
    tasks: list[Task],
    config: PreferConfig,
    seed: int,
) -> dict[str, scoring.Scored]:
    """By task. The student is opened once, and only when there is something left to ask."""
    total = sum(len(drafts[name]) * len(chosen.items) for name, chosen in exams.items())
    folders = {task.name: out / "shards" / task.name for task in tasks}
    done = sum(scoring.finished(folders[name], drafts[name], chosen.items) for name, chosen in exams.items())
    with on_demand(student, out) as opened, progress("prefer", round(total * config.budget), done) as advance:
        return {
            task.name: scoring.score(
                folders[task.name], drafts[task.name], exams[task.name].items, task, opened, config, seed, advance
            )
            for task in tasks
        }


def _no_pair(scores: list[Score], config: PreferConfig, by_task: dict[str, Counter[str]]) -> StageFailed:
    told = "; ".join(f"{name}: {dict(counts)}" for name, counts in by_task.items())
    values = sorted({score.score for score in scores})
    if len(values) == 1:
        why = {0.0: "the student gets no exam item right", 1.0: "the student gets every exam item right"}.get(
            values[0], ""
        )
        return StageFailed(
            f"prefer: all {len(scores):,} drafts score {values[0]:g} on {scores[0].answered} exam items each"
            f"{f': {why}' if why else ''} ({told})",
            "`prefer.signal: answer_loglik` still tells drafts apart where no answer changes; else choose other"
            " validation items, raise `prefer.max_tokens`, or leave `prefer` and `align` out of the recipe",
        )
    spread = f"; scores go from {values[0]:.3f} to {values[-1]:.3f}" if values else ""
    return StageFailed(
        f"prefer: no two of {len(scores):,} drafts differ by {config.min_gap:g} or more{spread} ({told})",
        "lower `prefer.min_gap`, raise `prefer.exam_size`, or leave `prefer` and `align` out of the recipe",
    )


def _finish(
    out: Path,
    made: list[Pair],
    scores: list[Score],
    by_task: dict[str, Counter[str]],
    exams: dict[str, exam.Exam],
    scored: dict[str, scoring.Scored],
) -> Preferences:
    summary = f"{len(made):,} pairs from {len(scores):,} drafts"
    counts = {
        "rows": len(made),
        "summary": summary,
        "tasks": by_task,
        "exam": {name: chosen.chosen_by for name, chosen in exams.items()},
        "answers": sum(score.answered for score in scores),
        "spent": {name: round(one.spent, 4) for name, one in scored.items()},
    }
    write_json(out / "counts.json", counts)
    return Preferences(out)
