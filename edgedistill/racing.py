"""Scores for less: a draft answers only so much of the exam as it takes to tell the best and the worst of its question.

    pilot      the drafts of some questions answer the whole exam: which items tell drafts apart, and their usual scores
    field      all others answer the items that tell most; what nearly all get right or wrong tells nothing
    halving    three times, the drafts whose place as best or worst is least certain answer the next items

What a draft was not asked counts with the item's mean over the drafts that were asked, so all scores are on the whole
exam. Only numbers go in and out; whoever asks the student is a function.

Source   ours; it is successive halving from both ends (Jamieson and Talwalkar 2016, arXiv:1502.07943, halves from one)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

Credits = list[list[float | None]]
"""Per draft and item the student's answer: 0 wrong, 1 right, in between for partial credit, None not asked."""

Ask = Callable[[str, list[int], list[int]], Sequence[Sequence[float]]]
"""(name of the round, numbers of the drafts, numbers of the items) -> one row of answers per draft."""

PILOT_SHARE = 0.15
"""Of the budget."""
FIELD_SHARE = 0.6
"""Of what the pilot left; more where that would not pay for LEAST_ITEMS."""
HALVINGS = 3
BLOCK_SHARE = 0.1
"""Of the exam's items: what a draft is asked in one halving."""
LEAST_ITEMS = 4
"""Of the exam, which every draft answers at least."""
_HAIR = 1e-9


@dataclass(frozen=True)
class Costs:
    """Characters that the student reads or writes; tokens go with them. An example is read once per round."""

    example: list[int]
    """Per draft: its question and rationale."""
    answer: list[int]
    """Per draft: what the student writes for one item. It imitates the example, so about the rationale."""
    item: list[int]
    """Per item: its question."""

    def of(self, draft: int, items: Sequence[int]) -> int:
        """One draft in one round."""
        return self.example[draft] + sum(self.item[item] for item in items) + len(items) * self.answer[draft]

    @property
    def whole(self) -> int:
        """All drafts on the whole exam."""
        return sum(self.of(draft, range(len(self.item))) for draft in range(len(self.example)))


@dataclass(frozen=True)
class Estimate:
    """A draft's score on the whole exam, as far as it is known."""

    score: float
    """0-1"""
    error: float
    """Standard error of `score` as an estimate of the draft's worth on items like these."""
    doubt: float
    """Standard error of `score` as an estimate of the score that the whole exam would give; 0 when all was asked."""


@dataclass(frozen=True)
class Race:
    """What came of it."""

    credits: Credits
    spent: float
    """Share of the text of the whole exam, 0-1."""


def race(questions: list[list[int]], costs: Costs, budget: float, seed: int, ask: Ask) -> Race:
    """Ask as much as `budget` allows, where it tells most. The same arguments and answers give the same questions.

    questions  the drafts (by number) of each question
    budget     share of the text that the whole exam of all drafts would take, 0-1
    Raises     ValueError when the budget does not pay for LEAST_ITEMS of every draft
    """
    check(costs, budget)
    runner = _Runner(costs, budget * costs.whole, ask)
    shuffled = Random(seed).sample(questions, len(questions))
    whole = list(range(len(costs.item)))
    pilot = runner.affordable([draft for drafts in shuffled for draft in drafts], whole, PILOT_SHARE)
    runner.ask("pilot", pilot, whole)
    order = _most_telling_first(runner.credits, seed)
    field = [draft for draft in range(len(costs.example)) if draft not in set(pilot)]
    runner.ask("field", field, order[: max(LEAST_ITEMS, runner.depth(field, order, FIELD_SHARE))])
    for number in range(1, HALVINGS + 1):
        _halve(runner, number, questions, order)
    return Race(runner.credits, runner.spent / costs.whole)


def check(costs: Costs, budget: float) -> None:
    """Raise ValueError, with the least that will do, when a budget does not pay for LEAST_ITEMS of every draft."""
    dearest = sorted(range(len(costs.item)), key=lambda item: -costs.item[item])[:LEAST_ITEMS]
    least = sum(costs.of(draft, dearest) for draft in range(len(costs.example)))
    share = math.ceil(100 * least / (1 - PILOT_SHARE) / costs.whole) / 100
    if budget < share:
        raise ValueError(f"{budget:g} does not pay for {LEAST_ITEMS} items of every draft; the least is {share:g}")


def estimates(credits: Credits) -> list[Estimate]:
    """One per draft, from what it answered and the means of the items that it was not asked."""
    means, variances = _items(credits)
    found = []
    for row in credits:
        filled = [means[item] if credit is None else credit for item, credit in enumerate(row)]
        score = fmean(filled)
        unknown = sum(variances[item] for item, credit in enumerate(row) if credit is None) / len(row) ** 2
        asked = [credit for credit in row if credit is not None]
        spread = fmean([(credit - score) ** 2 for credit in asked]) if len(asked) == len(row) else score * (1 - score)
        found.append(Estimate(score, math.sqrt(spread / len(row) + unknown), math.sqrt(unknown)))
    return found


class _Runner:
    """Asks, remembers the answers, and keeps the accounts."""

    def __init__(self, costs: Costs, purse: float, put: Ask) -> None:
        self.costs, self.purse, self.spent, self._put = costs, purse, 0, put
        self.credits: Credits = [[None] * len(costs.item) for _ in costs.example]

    @property
    def left(self) -> float:
        return self.purse - self.spent

    def ask(self, name: str, drafts: list[int], items: list[int]) -> None:
        if not drafts or not items:
            return
        for draft, row in zip(drafts, self._put(name, drafts, items), strict=True):
            self.spent += self.costs.of(draft, items)
            for item, credit in zip(items, row, strict=True):
                self.credits[draft][item] = credit

    def affordable(self, drafts: Sequence[int], items: Sequence[int], share: float) -> list[int]:
        """The first drafts that a share of what is left pays for."""
        purse, kept = share * self.left, []
        for draft in drafts:
            purse -= self.costs.of(draft, items)
            if purse < 0:
                break
            kept.append(draft)
        return kept

    def depth(self, drafts: list[int], order: list[int], share: float) -> int:
        """How many items, in their order, a share of what is left pays for, when all these drafts answer them."""
        purse = share * self.left - sum(self.costs.example[draft] for draft in drafts)
        answers = sum(self.costs.answer[draft] for draft in drafts)
        for place, item in enumerate(order):
            purse -= len(drafts) * self.costs.item[item] + answers
            if purse < 0:
                return place
        return len(order)


def _halve(runner: _Runner, number: int, questions: list[list[int]], order: list[int]) -> None:
    """The drafts whose place is least certain answer the next items in the order, as many as are affordable."""
    purse = runner.left / (HALVINGS + 1 - number)
    block = max(2, round(BLOCK_SHARE * len(order)))
    depths: dict[int, list[int]] = {}
    for draft in _least_certain_first(runner.credits, questions):
        begun = sum(credit is not None for credit in runner.credits[draft])
        purse -= runner.costs.of(draft, order[begun : begun + block])
        if purse < 0:
            break
        depths.setdefault(begun, []).append(draft)
    for begun in sorted(depths):
        runner.ask(f"halving-{number}-{begun}", sorted(depths[begun]), order[begun : begun + block])


def _least_certain_first(credits: Credits, questions: list[list[int]]) -> list[int]:
    """Drafts with items left to answer: those first whose score is, for its doubt, closest to that of the best or the
    worst of their question."""
    found = estimates(credits)
    closest: dict[int, float] = {}
    for drafts in questions:
        ranked = sorted(drafts, key=lambda draft: (-found[draft].score, draft))
        for end in {ranked[0], ranked[-1]}:
            for draft in drafts:
                if draft == end:
                    continue
                doubt = math.hypot(found[draft].doubt, found[end].doubt)
                distance = abs(found[draft].score - found[end].score) / max(doubt, _HAIR)
                for one in (draft, end):
                    closest[one] = min(distance, closest.get(one, math.inf))
    return sorted((draft for draft in closest if None in credits[draft]), key=lambda draft: (closest[draft], draft))


def _most_telling_first(credits: Credits, seed: int) -> list[int]:
    """Items by the variance of their answers so far; equal ones in an order drawn from the seed."""
    _, variances = _items(credits)
    drawn = Random(seed).sample(range(len(variances)), len(variances))
    return sorted(drawn, key=lambda item: -round(variances[item], 9))


def _items(credits: Credits) -> tuple[list[float], list[float]]:
    """Mean and variance of each item's answers, with half an answer added, so that neither is ever quite certain."""
    means, variances = [], []
    for column in zip(*credits, strict=True):
        asked = [0.5, *(credit for credit in column if credit is not None)]
        means.append(fmean(asked))
        variances.append(fmean([credit * credit for credit in asked]) - means[-1] ** 2)
    return means, variances
