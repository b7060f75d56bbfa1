"""The engine around a runtime that reads one sequence: what it asks the runtime to read, and what it makes of it.

The reader here stands for a model of 16 tokens whose next token is the last one plus one; it proves the order of work
and the arithmetic, not that a real runtime keeps to it (tests/exporters/test_onnx_genai.py does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edgedistill.engine import Messages, user
from edgedistill.errors import UsageError
from edgedistill.ml.stepwise import StepwiseEngine

VOCABULARY, END = 16, 15


class Counting:
    """Logit 1 for the last token plus one, 0 for all others."""

    context = 12

    def __init__(self) -> None:
        self.read: list[int] = []
        self.fed: list[list[int]] = []

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        return self.feed_all(ids)[-1]

    def feed_all(self, ids: Sequence[int]) -> np.ndarray:
        assert ids, "a runtime cannot read nothing"
        self.read += ids
        self.fed.append(list(ids))
        logits = np.zeros((len(ids), VOCABULARY), np.float32)
        logits[np.arange(len(ids)), np.array(ids) + 1] = 1.0
        return logits

    def rewind(self, length: int) -> None:
        del self.read[length:]

    def close(self) -> None:
        self.fed = []


class Letters:
    """`a` is token 0, `b` is 1 and so on."""

    def render(self, messages: Messages) -> str:
        return "".join(message["content"] for message in messages)

    def ids(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def text(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + token) for token in ids)


@pytest.fixture
def reader() -> Counting:
    return Counting()


@pytest.fixture
def engine(reader) -> StepwiseEngine:
    return StepwiseEngine("counting", reader, Letters(), [END], None)


def test_answers_go_on_to_the_end_token_the_limit_or_the_stop_text(engine):
    # After `m` come n and o; then p, token 15, which ends the answer.
    assert engine.generate([user("m")], max_tokens=9) == ["no"]
    assert engine.generate([user("a")], max_tokens=3) == ["bcd"]
    assert engine.generate([user("a")], max_tokens=9, stop="cd") == ["bcd"]
    assert engine.generate([user("abcdefghij")], max_tokens=9) == ["kl"], "the context of 12 is full"


def test_answers_come_in_the_order_of_the_questions_and_each_is_told_of(engine):
    done: list[int] = []
    assert engine.generate([user("k"), user("b"), user("f")], max_tokens=2, on_done=done.append) == ["lm", "cd", "gh"]
    assert done == [1, 1, 1]


def test_what_prompts_have_in_common_is_read_once(engine, reader):
    engine.first_token_log_probs([user("abcx"[:3] + "d"), user("abce"), user("abcdf")])
    assert reader.fed == [[0, 1, 2, 3], [5], [4]]


def test_a_prompt_that_was_read_already_is_read_from_its_last_token(engine, reader):
    engine.answer_log_probs([user("ab"), user("ab")], ["cd", "c"])
    assert reader.fed == [[0, 1], [2], [1]]


def test_a_call_does_not_go_on_from_the_one_before(engine, reader):
    engine.answer_ids([user("abc")], max_tokens=1)
    engine.answer_ids([user("abc")], max_tokens=1)
    assert reader.fed == [[0, 1, 2], [0, 1, 2]]


def test_log_probabilities_by_hand(engine):
    """One logit is 1, fifteen are 0: ln(e / (e + 15)) and ln(1 / (e + 15))."""
    likely, unlikely = 1 - math.log(math.e + 15), -math.log(math.e + 15)
    assert engine.answer_log_probs([user("a")], ["bcx"[:2]]) == [pytest.approx([likely, likely], abs=1e-6)]
    assert engine.answer_log_probs([user("a")], ["ca"]) == [pytest.approx([unlikely, unlikely], abs=1e-6)]
    steps = engine.step_log_probs(user("a"), [2, 0])
    assert steps.shape == (3, VOCABULARY)
    assert [int(row.argmax()) for row in steps] == [1, 3, 1]
    assert engine.first_token_log_probs([user("c"), user("a")]).argmax(axis=1).tolist() == [3, 1]


def test_draws_depend_on_the_seed_and_on_nothing_before(engine):
    asked = [user("a"), user("b")]
    first = engine.generate(asked, max_tokens=5, temperature=2.0, seed=1)
    assert engine.generate(asked, max_tokens=5, temperature=2.0, seed=1) == first
    assert engine.generate(asked, max_tokens=5, temperature=2.0, seed=2) != first


@pytest.mark.parametrize("prompt", ["", "abcdefghijkl"])
def test_a_prompt_that_does_not_fit_is_named(engine, prompt):
    with pytest.raises(UsageError, match=f"a prompt of {len(prompt)} tokens does not fit into a context of 12"):
        engine.generate([user(prompt)], max_tokens=1)
