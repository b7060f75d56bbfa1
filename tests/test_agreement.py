"""Rank correlations by hand and against scipy, and what their intervals hold."""

from __future__ import annotations

import pytest

from edgedistill.agreement import between, of_drafts, of_groups
from edgedistill.artifacts import Gain, Score


def score(name: str, value: float) -> Score:
    return Score(name, "t", value)


def test_ranks_count_and_not_values() -> None:
    """Any rising change of the values leaves 1; the opposite order gives -1; three of four in place give 0.8."""
    one = [1.0, 2.0, 3.0, 4.0]
    assert between([one], [[1.0, 10.0, 11.0, 1000.0]]).mean == pytest.approx(1.0)
    assert between([one], [[4.0, 3.0, 2.0, 1.0]]).mean == pytest.approx(-1.0)
    assert between([one], [[1.0, 3.0, 2.0, 4.0]]).mean == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_equal_values_share_their_ranks_as_in_scipy() -> None:
    from scipy.stats import spearmanr

    one, other = [0.1, 0.1, 0.3, 0.4, 0.4, 0.9, 0.2], [3.0, 1.0, 2.0, 2.0, 5.0, 4.0, 1.0]
    assert between([one], [other]).mean == pytest.approx(spearmanr(one, other).statistic)


def test_runs_are_ranked_by_themselves_and_averaged() -> None:
    """A run whose scores are all higher says nothing about order: within each run it is perfect, over all it is not."""
    found = between([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]], [[7.0, 8.0, 9.0], [1.0, 2.0, 3.0]])
    assert found.by_run == pytest.approx((1.0, 1.0)) and found.mean == pytest.approx(1.0)
    assert between([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], [[7.0, 8.0, 9.0], [3.0, 2.0, 1.0]]).mean == pytest.approx(0.0)


def test_the_interval_holds_the_value_and_narrows_with_more_values() -> None:
    import numpy as np

    random = np.random.default_rng(3)
    x = random.normal(size=400)
    y = x + random.normal(size=400)
    few, many = between([x[:20].tolist()], [y[:20].tolist()]), between([x.tolist()], [y.tolist()])
    for found in (few, many):
        assert found.ci_low is not None and found.ci_high is not None and found.mean is not None
        assert found.ci_low < found.mean < found.ci_high
    # Of two normal variables with correlation 0.707: 6/pi asin(0.707 / 2) = 0.690.
    assert many.ci_low < 0.690 < many.ci_high  # type: ignore[operator]
    assert many.ci_high - many.ci_low < (few.ci_high - few.ci_low) / 2  # type: ignore[operator]


@pytest.mark.parametrize("other", [[5.0, 5.0, 5.0], [5.0, 6.0]])
def test_nothing_is_known_of_equal_or_too_few_values(other: list[float]) -> None:
    found = between([[1.0, 2.0, 3.0][: len(other)]], [other])
    assert (found.mean, found.ci_low, found.ci_high, found.by_run) == (None, None, None, (None,))


def test_drafts_that_one_signal_left_out_are_left_out() -> None:
    assert of_drafts([score("a", 1.0), score("b", 2.0)], [score("c", 9.0), score("a", 3.0)]) == ([1.0], [3.0])


def test_a_group_is_worth_the_mean_of_its_drafts() -> None:
    scores = [score("a", 0.2), score("b", 0.4), score("c", 0.9)]
    means, gains = of_groups(scores, [Gain("t", ("a", "b"), 0.05, 0.3), Gain("t", ("b", "c"), -0.1, 0.2)])
    assert means == pytest.approx([0.3, 0.65])
    assert gains == {"accuracy": [0.05, -0.1], "log_prob": [0.3, 0.2]}
