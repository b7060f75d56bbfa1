"""What DPO learns from: the best drafts against the worst, by the student's scores.

Source   ARTE, arXiv:2406.19227v1, sec. 3.3, 4.1 and appendix G. How the chosen are matched with the rejected is not in
         the paper, nor are small gaps, which are dropped here, and ties: dropped, or taken for equal (strength.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from statistics import fmean

from edgedistill import strength
from edgedistill.artifacts import Draft, Pair, Score
from edgedistill.drafting import pairs, seeds_for
from edgedistill.prompts import plain_prompt, question_block, question_prompt
from edgedistill.sections import PreferConfig
from edgedistill.shards import seed_of
from edgedistill.task import Task

PREFERRED, EQUAL = "preferred", "equal"

_ROUNDING = 1e-9


def by_question(drafts: list[Draft]) -> dict[str, list[Draft]]:
    """Question -> its drafts, both in the order of the drafts."""
    found: dict[str, list[Draft]] = {}
    for draft in drafts:
        found.setdefault(draft.question, []).append(draft)
    return found


@dataclass(frozen=True)
class _Candidate:
    """Two answers to one prompt, the better one first."""

    level: str
    prompt: str
    chosen: str
    rejected: str
    gap: float
    credits: tuple[strength.Credits, strength.Credits]


def make(
    drafts: list[Draft], scores: dict[str, Score], task: Task, config: PreferConfig, seed: int, counts: Counter[str]
) -> list[Pair]:
    """Question-level pairs, then rationale-level pairs. `counts` tells what was made and what was dropped, and why:
    `question_pairs`, `equal_question_pairs`, `question_tie`, `question_gap_too_small`, `rationale_has_no_rival` …"""
    questions = by_question(drafts)
    candidates = [
        *_question_pairs(questions, scores, task, config, seed),
        *_rationale_pairs(questions, scores, task, counts),
    ]
    kept = []
    for candidate in candidates:
        found = strength.measure(*candidate.credits, candidate.gap)
        reason = _why_dropped(candidate.gap, found, config)
        if reason is not None:
            counts[f"{candidate.level}_{reason}"] += 1
            continue
        pair = _pair(candidate, found, task, config)
        counts[f"{'equal_' if pair.label == EQUAL else ''}{pair.level}_pairs"] += 1
        kept.append(pair)
    return kept


def of_tasks(
    drafts: dict[str, list[Draft]],
    scores: dict[str, Score],
    tasks: list[Task],
    config: PreferConfig,
    seed: int,
    counts: dict[str, Counter[str]],
) -> list[Pair]:
    """The pairs of all tasks; `drafts` and `counts` go by task."""
    return [pair for task in tasks for pair in make(drafts[task.name], scores, task, config, seed, counts[task.name])]


def summary(made: list[Pair], drafts: int) -> str:
    """`52 pairs from 160 drafts, 7 of them equal`"""
    equal = sum(one.label == EQUAL for one in made)
    return f"{len(made):,} pairs from {drafts:,} drafts" + (f", {equal:,} of them equal" if equal else "")


def _is_small(gap: float, config: PreferConfig) -> bool:
    return gap <= _ROUNDING or gap < config.min_gap - _ROUNDING


def _is_tie(found: strength.Strength, config: PreferConfig) -> bool:
    """By the interval of the gap and not by its size: most gaps of a short exam are as large as chance makes them."""
    return config.ties == "equal" and found.is_equal


def _why_dropped(gap: float, found: strength.Strength, config: PreferConfig) -> str | None:
    if _is_tie(found, config):
        return None
    if _is_small(gap, config):
        return "tie" if gap <= _ROUNDING else "gap_too_small"
    is_weak = found.spread is None or gap < found.spread - _ROUNDING
    return "gap_too_weak" if config.strength == "drop" and is_weak else None


def _pair(candidate: _Candidate, found: strength.Strength, task: Task, config: PreferConfig) -> Pair:
    return Pair(
        task.name,
        candidate.level,
        candidate.prompt,
        candidate.chosen,
        candidate.rejected,
        candidate.gap,
        label=EQUAL if _is_tie(found, config) else PREFERRED,
        spread=None if found.spread is None else round(found.spread, 6),
        doubt=round(found.doubt, 6),
        strength=config.strength if config.strength in ("margin", "smooth") else "ignore",
    )


def _question_pairs(
    questions: dict[str, list[Draft]], scores: dict[str, Score], task: Task, config: PreferConfig, seed: int
) -> Iterator[_Candidate]:
    """The best questions against the worst, as answers to a question prompt with three seeds that asks for one more.

    A question's score is the mean of its drafts'.
    """
    own = {question: [scores[draft.id] for draft in drafts] for question, drafts in questions.items()}
    means = {question: fmean(score.score for score in found) for question, found in own.items()}
    ranked = sorted(questions, key=lambda question: (-means[question], question))
    for number, (best, worst) in enumerate(_matched(ranked, config.question_pairs, seed_of(seed, "pairs", task.name))):
        shown = seeds_for(task, seed_of(seed, "question pairs"), number)
        prompt = question_prompt(task.info.title, task.info.description, pairs(shown), 1)
        chosen, rejected = (question_block(4, text, questions[text][0].answer) for text in (best, worst))
        credits = strength.mean_credits(own[best]), strength.mean_credits(own[worst])
        yield _Candidate("question", prompt, chosen, rejected, means[best] - means[worst], credits)


def _matched(ranked: list[str], wanted: int | str, seed: int) -> list[tuple[str, str]]:
    """(chosen, rejected) from both ends of a ranking: the very best with the very worst, or two quarters by lot."""
    if wanted != "quartile":
        return [(ranked[number], ranked[-1 - number]) for number in range(min(int(wanted), len(ranked) // 2))]
    quarter = len(ranked) // 4
    top, bottom = ranked[:quarter], ranked[len(ranked) - quarter :]
    return list(zip(Random(seed).sample(top, quarter), bottom, strict=True))


def _rationale_pairs(
    questions: dict[str, list[Draft]], scores: dict[str, Score], task: Task, counts: Counter[str]
) -> Iterator[_Candidate]:
    """A question's best rationale against its worst, on the plain prompt: the teacher is to find the style."""
    for question, drafts in questions.items():
        if len(drafts) == 1:
            counts["rationale_has_no_rival"] += 1
            continue
        ranked = sorted(drafts, key=lambda draft: (-scores[draft.id].score, draft.id))
        best, worst = ranked[0], ranked[-1]
        prompt = plain_prompt(task.info.description, question)
        gap = scores[best.id].score - scores[worst.id].score
        credits = scores[best.id].credits, scores[worst.id].credits
        yield _Candidate("rationale", prompt, best.rationale, worst.rationale, gap, credits)
