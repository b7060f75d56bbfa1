"""Stage 2: every draft is scored by how much it helps the student; best and worst become pairs for DPO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from edgedistill import components
from edgedistill.artifacts import Draft, Drafts, Pair, Preferences, Score
from edgedistill.drafting import pairs, seeds_for
from edgedistill.errors import StageFailed, UsageError
from edgedistill.files import write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt, question_block, question_prompt
from edgedistill.sections import PreferConfig
from edgedistill.shards import Row, on_demand, seed_of, shard, shard_path
from edgedistill.store import stage
from edgedistill.task import Item, Task

DRAFTS_PER_SHARD = 16
_ROUNDING = 1e-9


@stage(version=1)
def prefer(
    out: Path, drafts: Drafts, student: Model, tasks: list[Task], config: PreferConfig, seed: int
) -> Preferences:
    """Score every draft with the config's signal on a fixed exam, and pair the best with the worst.

    Leaves  exam.jsonl     task, id
            scores.jsonl   draft_id, task, score (0-1), hits (one 0 or 1 per exam item)
            pairs.jsonl    task, level (question, rationale), prompt, chosen, rejected, margin (0-1)
            counts.json    per task: pairs by level, and the pairs that were dropped, by reason
    Raises  UsageError when validation.jsonl has fewer items than the exam asks for
            StageFailed when no pair is left
    Source  ARTE, arXiv:2406.19227v1, sec. 3.3 and appendix G. Ties and small gaps are dropped, which the paper does not
            mention; the exam is a stratified draw, not yet the paper's choice by item response theory
    """
    all_drafts = list(drafts.rows())
    exams = {task.name: choose_exam(task, config.exam_size, seed) for task in tasks}
    write_rows(out / "exam.jsonl", ({"task": name, "id": item.id} for name, exam in exams.items() for item in exam))
    scores: list[Score] = []
    made: list[Pair] = []
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    for task in tasks:
        own = [draft for draft in all_drafts if draft.task == task.name]
        scored = _score(out / "shards" / task.name, own, exams[task.name], task, student, config)
        scores += scored
        made += _pairs(own, {score.draft_id: score.score for score in scored}, task, config, seed, by_task[task.name])
    write_rows(out / "scores.jsonl", map(asdict, scores))
    write_rows(out / "pairs.jsonl", map(asdict, made))
    if not made:
        told = "; ".join(f"{name}: {dict(counts)}" for name, counts in by_task.items())
        raise StageFailed(
            f"prefer: no two of {len(scores):,} drafts differ by {config.min_gap:g} or more ({told})",
            "lower `prefer.min_gap`, raise `prefer.exam_size`, or leave `prefer` and `align` out of the recipe",
        )
    summary = f"{len(made):,} pairs from {len(scores):,} drafts"
    write_json(out / "counts.json", {"rows": len(made), "summary": summary, "tasks": by_task})
    return Preferences(out)


def choose_exam(task: Task, size: int, seed: int) -> list[Item]:
    """`size` validation items, drawn from a seed, with the answers' kinds in proportion where the grader tells them.

    Systematic sampling: shuffled, sorted by kind, then every n-th.
    """
    if size > len(task.validation):
        raise UsageError(
            f"prefer.exam_size: {size}, but task `{task.name}` has {len(task.validation)} items in validation.jsonl",
            "lower it, or add labelled items to the task",
        )
    grader: Any = task.grader
    shuffled = Random(seed_of(seed, "exam", task.name)).sample(task.validation, len(task.validation))
    if hasattr(grader, "stratum"):
        shuffled.sort(key=lambda item: str(grader.stratum(item.answer)))
    return [shuffled[place * len(shuffled) // size] for place in range(size)]


def _score(
    folder: Path, drafts: list[Draft], exam: list[Item], task: Task, student: Model, config: PreferConfig
) -> list[Score]:
    """Scores in the order of the drafts, in shards that a rerun continues from."""
    signal = components.load("signals", config.signal)
    parts = [drafts[start : start + DRAFTS_PER_SHARD] for start in range(0, len(drafts), DRAFTS_PER_SHARD)]
    finished = sum(len(part) for number, part in enumerate(parts) if shard_path(folder, number).is_file())
    scores: list[Score] = []
    with (
        on_demand(student) as opened,
        progress(f"prefer {task.name}", len(drafts) * len(exam), finished * len(exam)) as advance,
    ):
        for number, part in enumerate(parts):

            def make(part: list[Draft] = part) -> Iterator[Row]:
                return map(asdict, signal.score(part, exam, task, opened(), config, advance))

            scores += [Score(**row) for row in shard(folder, number, make)]
    return scores


def _pairs(
    drafts: list[Draft], scores: dict[str, float], task: Task, config: PreferConfig, seed: int, counts: Counter[str]
) -> list[Pair]:
    """Question-level pairs, then rationale-level pairs; `counts` tells what was made and what was dropped, and why."""
    by_question: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_question.setdefault(draft.question, []).append(draft)
    candidates = [
        *_question_pairs(by_question, scores, task, config, seed),
        *_rationale_pairs(by_question, scores, task, counts),
    ]
    kept = []
    for pair in candidates:
        reason = _why_dropped(pair, config.min_gap)
        counts[f"{pair.level}_pairs" if reason is None else f"{pair.level}_{reason}"] += 1
        if reason is None:
            kept.append(pair)
    return kept


def _why_dropped(pair: Pair, min_gap: float) -> str | None:
    if pair.margin <= _ROUNDING:
        return "tie"
    return "gap_too_small" if pair.margin < min_gap - _ROUNDING else None


def _question_pairs(
    by_question: dict[str, list[Draft]], scores: dict[str, float], task: Task, config: PreferConfig, seed: int
) -> Iterator[Pair]:
    """The best questions against the worst, the very best against the very worst, as answers to a question prompt.

    A question's score is the mean of its drafts'. The prompt shows three seeds and asks for one more question.
    """
    means = {question: fmean(scores[draft.id] for draft in drafts) for question, drafts in by_question.items()}
    ranked = sorted(by_question, key=lambda question: (-means[question], question))
    for number in range(min(config.question_pairs, len(ranked) // 2)):
        best, worst = ranked[number], ranked[-1 - number]
        shown = seeds_for(task, seed_of(seed, "question pairs"), number)
        prompt = question_prompt(task.info.title, task.info.description, pairs(shown), 1)
        chosen, rejected = (question_block(4, text, by_question[text][0].answer) for text in (best, worst))
        yield Pair(task.name, "question", prompt, chosen, rejected, means[best] - means[worst])


def _rationale_pairs(
    by_question: dict[str, list[Draft]], scores: dict[str, float], task: Task, counts: Counter[str]
) -> Iterator[Pair]:
    """A question's best rationale against its worst, on the plain prompt: the teacher is to find the style."""
    for question, drafts in by_question.items():
        if len(drafts) == 1:
            counts["rationale_has_no_rival"] += 1
            continue
        ranked = sorted(drafts, key=lambda draft: (-scores[draft.id], draft.id))
        best, worst = ranked[0], ranked[-1]
        margin = scores[best.id] - scores[worst.id]
        yield Pair(
            task.name,
            "rationale",
            plain_prompt(task.info.description, question),
            best.rationale,
            worst.rationale,
            margin,
        )
