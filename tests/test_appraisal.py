"""The teacher's score of responses, from scripted probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from edgedistill import appraisal
from edgedistill.appraisal import Appraisal, appraise, choice_prompt, choices_of


class Judge:
    """An engine that prefers longer responses, and the letter A whatever stands there.

    It proves what is asked, and how the answers are put together; not that a model can judge.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def answer_log_probs(self, conversations: Sequence[Any], answers: Sequence[str], **_: Any) -> list[list[float]]:
        prompts = [messages[-1]["content"] for messages in conversations]
        self.asked += zip(prompts, answers, strict=True)
        return [self._said(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def _said(self, prompt: str, answer: str) -> list[float]:
        if not prompt.startswith("Which response"):
            return [-1.0 * len(word) for word in answer.split()]
        first, second = prompt.split('A) """')[1].split('"""\n\nB) """')
        a = 0.5 if len(first) > len(second.split('"""')[0]) else 0.3
        if answer == "None":  # two tokens
            return [math.log(0.4), math.log(0.5)]
        return [math.log(a if answer == "A" else 0.8 - a)]


def test_both_orders_are_asked_with_every_option() -> None:
    judge = Judge()
    appraise(judge, ["q"], [["one", "three", "eleven"]], 0.0)  # type: ignore[arg-type]
    shown = {choice_prompt("q", a, b) for a, b in permutations(["one", "three", "eleven"], 2)}
    assert {prompt for prompt, _ in judge.asked} == shown
    assert [answer for _, answer in judge.asked] == ["A", "B", "None"] * 6


def test_the_choice_by_hand() -> None:
    """Two responses, the second longer. As (1st, 2nd): A 0.3, B 0.5; as (2nd, 1st): A 0.5, B 0.3. None 0.4 x 0.5."""
    (found,) = appraise(Judge(), ["q"], [["one", "three"]], 0.0)  # type: ignore[arg-type]
    assert found.choices == pytest.approx([math.log(0.3), math.log(0.5)], abs=1e-6)
    assert found.neither == pytest.approx(0.2)
    assert found.log_probs == []
    assert found.scores(0.0) == found.choices


def test_a_judge_that_always_says_a_prefers_nothing() -> None:
    """Position bias cancels, since each response stands first as often as second."""
    always_a = [math.log(value) for _ in permutations(range(3), 2) for value in (0.9, 0.05, 0.05)]
    choices, neither = choices_of(3, iter(always_a))
    assert choices == pytest.approx([math.log(0.475)] * 3)
    assert neither == pytest.approx(0.05)


def test_the_score_is_mixed_from_both() -> None:
    (found,) = appraise(Judge(), ["q"], [["one two", "three"]], 0.25)  # type: ignore[arg-type]
    assert found.log_probs == [-3.0, -5.0]
    expected = [0.25 * a + 0.75 * m for a, m in zip([-3, -5], found.choices, strict=True)]
    assert found.scores(0.25) == pytest.approx(expected)


def test_with_alpha_1_nothing_is_chosen() -> None:
    judge = Judge()
    found = appraise(judge, ["p", "q"], [["a", "bb"], ["ccc"]], 1.0)  # type: ignore[arg-type]
    assert found == [Appraisal([-1.0, -2.0], [], None), Appraisal([-3.0], [], None)]
    assert not any(prompt.startswith("Which response") for prompt, _ in judge.asked)


def test_the_pairs_share_the_beginning_of_their_prompt() -> None:
    """What the engine encodes once: all up to where the responses begin."""
    first, second = choice_prompt("q" * 50, "one", "two"), choice_prompt("q" * 50, "six", "two")
    common = next(at for at, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    assert common == first.index('A) """one') + len('A) """')
    assert appraisal.NEITHER in first[:common]
