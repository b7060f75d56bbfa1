"""Distributions against each other: by hand, and over a whole vocabulary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgedistill import shift
from edgedistill.engine import user


class Table:
    """A runtime of 6 tokens whose distribution depends on the number of answer tokens so far. It proves what is asked
    and how the figures are made; the engines' own tests prove the distributions."""

    def __init__(self, tilt: float = 0.0, width: int = 6) -> None:
        self.tilt, self.width, self.asked = tilt, width, list[list[int]]()

    def answer_ids(self, conversations: Any, *, max_tokens: int) -> list[list[int]]:
        return [[1, 2, 3][:max_tokens] for _ in conversations]

    def step_log_probs(self, messages: Any, answer: Any) -> Any:
        self.asked.append(list(answer))
        logits = np.zeros((len(answer) + 1, self.width), np.float32)
        logits[:, 0] = np.arange(len(answer) + 1) + self.tilt
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


SAID = [user(f"question {n}") for n in range(5)]


def test_divergence_of_two_tokens_by_hand():
    """0.8 ln(0.8/0.5) + 0.2 ln(0.2/0.5) = 0.1927 nats."""
    found = shift.divergences(np.array([[1, 0]]), np.log([[0.8, 0.2]]), np.log([[0.5, 0.5]]))
    assert found[0] == pytest.approx(0.8 * math.log(1.6) + 0.2 * math.log(0.4))


def test_what_is_not_kept_is_one_bin():
    """0.6, 0.1 | 0.3 against 0.5, 0.2 | 0.3: the rest adds nothing."""
    after = np.log([[0.5, 0.1, 0.2, 0.2]])
    found = shift.divergences(np.array([[0, 2]]), np.log([[0.6, 0.1]]), after)
    assert found[0] == pytest.approx(0.6 * math.log(0.6 / 0.5) + 0.1 * math.log(0.1 / 0.2))


def test_the_kept_tokens_never_give_more_than_the_whole_vocabulary():
    random = np.random.default_rng(3)
    before, after = (np.log(random.dirichlet(np.full(50, 0.2), 7) + 1e-12) for _ in range(2))
    whole = (np.exp(before) * (before - after)).sum(axis=1)
    order = np.argsort(-before, axis=1)[:, :5]
    few = shift.divergences(order, np.take_along_axis(before, order, axis=1), after)
    assert (few <= whole + 1e-9).all() and (few > 0).all()
    every = np.argsort(-before, axis=1)
    assert shift.divergences(every, np.take_along_axis(before, every, axis=1), after) == pytest.approx(whole, rel=1e-6)


def test_a_token_that_the_runtime_has_no_row_for_is_impossible():
    assert shift.divergences(np.array([[0, 3]]), np.log([[0.5, 0.5]]), np.log([[0.5, 0.3, 0.2]]))[0] > 30


def test_both_sides_see_the_float_students_answers():
    """4 positions of each of 3 rows; 16 would be too many for 4 rows in 15."""
    reference = shift.held_out(Table(), SAID, max_tokens=3, positions=15)
    assert (len(reference.rows), reference.positions) == (3, 12)
    runtime = Table()
    line = shift.line(reference, runtime)
    assert runtime.asked == [[1, 2, 3]] * 3
    assert line == {"kl_mean": 0.0, "kl_p99": 0.0, "same_top1": 1.0, "kl_positions": 12}


def test_a_runtime_that_moved_is_told_by_how_much():
    reference = shift.held_out(Table(), SAID, max_tokens=3, positions=4)
    line = shift.line(reference, Table(tilt=-3.5))
    assert line["kl_mean"] > 0.1 and line["kl_p99"] >= line["kl_mean"]
    assert line["same_top1"] == 0.0


def test_one_row_is_compared_however_long_it_is():
    assert shift.held_out(Table(), SAID, max_tokens=3, positions=1).positions == 4


def test_of_a_large_vocabulary_the_likeliest_are_kept(monkeypatch):
    monkeypatch.setattr(shift, "KEPT", 4)
    reference = shift.held_out(Table(width=40), SAID, max_tokens=3, positions=4)
    assert reference.ids.shape == (4, 4)
    assert reference.ids[1, 0] == 0 and (np.diff(reference.log_probs, axis=1) <= 0).all()
