"""Stage 2: every draft is scored by how much it helps the student; best and worst become pairs for DPO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgedistill import pairs
from edgedistill.artifacts import Drafts, Pair, Preferences, Score
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.models import Model
from edgedistill.sections import PreferConfig
from edgedistill.stages.rate import Rated, rated
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=4)  # v4: ties are told by the interval of the gap
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
            pairs.jsonl      task, level (question, rationale), prompt, chosen, rejected, margin (0-1); label
                             (preferred, equal), spread and doubt of the margin, what DPO does with them (strength)
            counts.json      per task: pairs by level, and the pairs that were dropped, by reason; how the exam was
                             chosen, and the share of the exact mode's text that was spent
    Raises  UsageError when validation.jsonl has fewer items than the exam asks for, or the student no room for one
            StageFailed when no pair is left, or ties alone, from which nothing can be learned
    Source  ARTE, arXiv:2406.19227v1, sec. 3.2, 3.3 and appendices E, G. Racing is ours, and so is that drafts which the
            student has no room for are dropped, and what becomes of ties, small gaps and unsure ones
    """
    found = rated(out, drafts, student, tasks, config, seed, respondents)
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    for name, fitting in found.fitting.items():
        if too_long := len(found.drafts[name]) - len(fitting):
            by_task[name]["draft_too_long"] = too_long
    scores = {score.draft_id: score for score in found.scores}
    made = pairs.of_tasks(found.fitting, scores, tasks, config, seed, by_task)
    write_rows(out / "pairs.jsonl", map(asdict, made))
    if not any(pair.label == pairs.PREFERRED for pair in made):
        raise _no_pair(found.scores, config, by_task)
    return _finish(out, made, found, by_task)


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


def _finish(out: Path, made: list[Pair], found: Rated, by_task: dict[str, Counter[str]]) -> Preferences:
    scores = found.scores
    counts = {
        "rows": len(made),
        "summary": pairs.summary(made, len(scores)),
        "tasks": by_task,
        "exam": {name: chosen.chosen_by for name, chosen in found.exams.items()},
        "answers": sum(score.answered for score in scores),
        "spent": {name: round(one.spent, 4) for name, one in found.scored.items()},
    }
    write_json(out / "counts.json", counts)
    return Preferences(out)
