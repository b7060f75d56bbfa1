"""A race asks where it tells most, keeps its budget, and finds the best and the worst; costs and estimates by hand."""

from __future__ import annotations

import math
from random import Random

import pytest

from edgedistill import racing
from edgedistill.racing import Costs


def made(questions: int, items: int, seed: int = 0) -> tuple[list[list[float]], list[list[int]]]:
    """Four drafts per question. Half of the items all get right; on the others, the first draft of a question is right
    on nearly all, the last on few, the middle ones on half."""
    random = Random(seed)
    chances = (0.95, 0.5, 0.5, 0.1)
    rows = [
        [1.0 if item % 2 else float(random.random() < chance) for item in range(items)]
        for _ in range(questions)
        for chance in chances
    ]
    return rows, [list(range(4 * number, 4 * number + 4)) for number in range(questions)]


def flat(drafts: int, items: int) -> Costs:
    return Costs([20] * drafts, [5] * drafts, [15] * items)


class Answers:
    """The whole matrix, and a record of what was asked."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows, self.rounds = rows, list[tuple[str, list[int], list[int]]]()

    def __call__(self, name: str, drafts: list[int], items: list[int]) -> list[list[float]]:
        self.rounds.append((name, drafts, items))
        return [[self.rows[draft][item] for item in items] for draft in drafts]


def test_a_quarter_of_the_text_finds_the_best_and_the_worst_of_each_question() -> None:
    """Chances of 0.95, 0.5, 0.5 and 0.1 on the 20 items that differ at all: the ends are clear."""
    rows, questions = made(30, 40)
    raced = racing.race(questions, flat(120, 40), 0.25, 1, Answers(rows))
    assert 0.2 < raced.spent <= 0.25
    scores = [estimate.score for estimate in racing.estimates(raced.credits)]
    same = 0
    for drafts in questions:
        exact = {draft: sum(rows[draft]) for draft in drafts}
        best, worst = max(drafts, key=lambda draft: scores[draft]), min(drafts, key=lambda draft: scores[draft])
        same += (exact[best] == max(exact.values())) + (exact[worst] == min(exact.values()))
    assert same / 60 >= 0.95


def test_the_pilot_tells_which_items_are_worth_asking() -> None:
    rows, questions = made(30, 40)
    answers = Answers(rows)
    racing.race(questions, flat(120, 40), 0.25, 1, answers)
    (pilot, _, whole), (field, drafts, few) = answers.rounds[:2]
    assert (pilot, field) == ("pilot", "field") and whole == list(range(40))
    assert all(item % 2 == 0 for item in few), "an odd item is right whatever the draft"
    assert {*answers.rounds[0][1], *drafts} == set(range(120)), "every draft is asked"


def test_nothing_is_asked_twice_and_the_accounts_are_right() -> None:
    rows, questions = made(10, 20)
    costs, answers = Costs([10 + n for n in range(40)], [3] * 40, [7 + n for n in range(20)]), Answers(rows)
    raced = racing.race(questions, costs, 0.5, 3, answers)
    asked = [(draft, item) for _, drafts, items in answers.rounds for draft in drafts for item in items]
    assert len(asked) == len(set(asked)) == sum(credit is not None for row in raced.credits for credit in row)
    assert all(raced.credits[draft][item] == rows[draft][item] for draft, item in asked)
    paid = sum(10 + d + sum(7 + i + 3 for i in items) for _, drafts, items in answers.rounds for d in drafts)
    assert raced.spent == pytest.approx(paid / costs.whole)
    assert costs.whole == sum(10 + d for d in range(40)) + 40 * sum(7 + i + 3 for i in range(20))


def test_the_drafts_in_the_middle_are_asked_least() -> None:
    rows, questions = made(30, 40)
    raced = racing.race(questions, flat(120, 40), 0.3, 1, Answers(rows))
    counts = [sum(credit is not None for credit in row) for row in raced.credits]
    assert len(set(counts)) > 2
    assert min(counts) >= racing.LEAST_ITEMS


def test_the_same_seed_asks_the_same_and_another_seed_does_not() -> None:
    rows, questions = made(10, 20)
    runs = [Answers(rows) for _ in range(3)]
    for answers, seed in zip(runs, (5, 5, 6), strict=True):
        racing.race(questions, flat(40, 20), 0.5, seed, answers)
    assert runs[0].rounds == runs[1].rounds != runs[2].rounds


def test_a_budget_that_does_not_pay_for_four_items_each_is_refused_before_anything_is_asked() -> None:
    """A draft costs 20 + 40 x 20 = 820, and four items 100, for which there is 0.85 of the budget: 0.143 at least."""
    rows, questions = made(5, 40)
    answers = Answers(rows)
    with pytest.raises(ValueError, match=r"0\.1 does not pay for 4 items of every draft; the least is 0\.15"):
        racing.race(questions, flat(20, 40), 0.1, 0, answers)
    assert not answers.rounds


def test_an_estimate_fills_in_the_mean_of_what_was_not_asked() -> None:
    """Item 2 has the answers 1, 0 and half an answer of 0.5: mean 0.5. The third draft scores (1 + 1 + 0.5) / 3."""
    found = racing.estimates([[1, 0, 1], [0, 1, 0], [1, 1, None]])
    assert [one.score for one in found] == pytest.approx([2 / 3, 1 / 3, 2.5 / 3])
    assert found[0].doubt == 0 and found[0].error == pytest.approx(math.sqrt((1 / 3 * 2 / 3) / 3))
    variance = (1 + 0 + 0.25) / 3 - 0.25
    assert found[2].doubt == pytest.approx(math.sqrt(variance) / 3)
    assert found[2].error == pytest.approx(math.sqrt((2.5 / 3 * 0.5 / 3) / 3 + variance / 9))


def test_partial_credit_races_as_well() -> None:
    random = Random(4)
    worth = [0.9, 0.5, 0.5, 0.2] * 15
    rows = [[min(1.0, max(0.0, random.gauss(mean, 0.1))) for _ in range(30)] for mean in worth]
    questions = [list(range(4 * number, 4 * number + 4)) for number in range(15)]
    raced = racing.race(questions, flat(60, 30), 0.3, 0, Answers(rows))
    scores = [estimate.score for estimate in racing.estimates(raced.credits)]
    for drafts in questions:
        assert max(drafts, key=lambda draft: scores[draft]) == drafts[0]
        assert min(drafts, key=lambda draft: scores[draft]) == drafts[3]
