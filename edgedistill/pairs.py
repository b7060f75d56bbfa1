"""What DPO learns from: the best drafts against the worst, by the student's scores.

Source   ARTE, arXiv:2406.19227v1, sec. 3.3, 4.1 and appendix G. How the chosen are matched with the rejected is not in
         the paper, nor are ties and small gaps, which are dropped here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from statistics import fmean

from edgedistill.artifacts import Draft, Pair
from edgedistill.drafting import pairs, seeds_for
from edgedistill.prompts import plain_prompt, question_block, question_prompt
from edgedistill.sections import PreferConfig
from edgedistill.shards import seed_of
from edgedistill.task import Task

_ROUNDING = 1e-9


def by_question(drafts: list[Draft]) -> dict[str, list[Draft]]:
    """Question -> its drafts, both in the order of the drafts."""
    found: dict[str, list[Draft]] = {}
    for draft in drafts:
        found.setdefault(draft.question, []).append(draft)
    return found


def make(
    drafts: list[Draft], scores: dict[str, float], task: Task, config: PreferConfig, seed: int, counts: Counter[str]
) -> list[Pair]:
    """Question-level pairs, then rationale-level pairs. `counts` tells what was made and what was dropped, and why:
    `question_tie`, `question_gap_too_small`, `rationale_has_no_rival` …"""
    questions = by_question(drafts)
    candidates = [
        *_question_pairs(questions, scores, task, config, seed),
        *_rationale_pairs(questions, scores, task, counts),
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
    questions: dict[str, list[Draft]], scores: dict[str, float], task: Task, config: PreferConfig, seed: int
) -> Iterator[Pair]:
    """The best questions against the worst, as answers to a question prompt with three seeds that asks for one more.

    A question's score is the mean of its drafts'.
    """
    means = {question: fmean(scores[draft.id] for draft in drafts) for question, drafts in questions.items()}
    ranked = sorted(questions, key=lambda question: (-means[question], question))
    for number, (best, worst) in enumerate(_matched(ranked, config.question_pairs, seed_of(seed, "pairs", task.name))):
        shown = seeds_for(task, seed_of(seed, "question pairs"), number)
        prompt = question_prompt(task.info.title, task.info.description, pairs(shown), 1)
        chosen, rejected = (question_block(4, text, questions[text][0].answer) for text in (best, worst))
        yield Pair(task.name, "question", prompt, chosen, rejected, means[best] - means[worst])


def _matched(ranked: list[str], wanted: int | str, seed: int) -> list[tuple[str, str]]:
    """(chosen, rejected) from both ends of a ranking: the very best with the very worst, or two quarters by lot."""
    if wanted != "quartile":
        return [(ranked[number], ranked[-1 - number]) for number in range(min(int(wanted), len(ranked) // 2))]
    quarter = len(ranked) // 4
    top, bottom = ranked[:quarter], ranked[len(ranked) - quarter :]
    return list(zip(Random(seed).sample(top, quarter), bottom, strict=True))


def _rationale_pairs(
    questions: dict[str, list[Draft]], scores: dict[str, float], task: Task, counts: Counter[str]
) -> Iterator[Pair]:
    """A question's best rationale against its worst, on the plain prompt: the teacher is to find the style."""
    for question, drafts in questions.items():
        if len(drafts) == 1:
            counts["rationale_has_no_rival"] += 1
            continue
        ranked = sorted(drafts, key=lambda draft: (-scores[draft.id], draft.id))
        best, worst = ranked[0], ranked[-1]
        prompt = plain_prompt(task.info.description, question)
        margin = scores[best.id] - scores[worst.id]
        yield Pair(task.name, "rationale", prompt, best.rationale, worst.rationale, margin)
