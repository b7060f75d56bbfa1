"""Rank correlations by hand and against scipy, and what their intervals hold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgedistill.agreement import Correlation, Ranked, between, of_drafts, of_groups
from edgedistill.artifacts import Gain, Score


def score(name: str, value: float, task: str = "t") -> Score:
    return Score(name, task, value)


def ranked(one: Sequence[float], other: Sequence[float], names: Sequence[str] = ()) -> Ranked:
    return Ranked(tuple(one), tuple(other), tuple(names) or tuple(map(str, range(len(one)))))


def alone(one: Sequence[float], other: Sequence[float], names: Sequence[str] = ()) -> Correlation:
    """Of one task in one run."""
    return between([[ranked(one, other, names)]])


def test_ranks_count_and_not_values() -> None:
    """Any rising change of the values leaves 1; the opposite order gives -1; three of four in place give 0.8."""
    one = [1.0, 2.0, 3.0, 4.0]
    assert alone(one, [1.0, 10.0, 11.0, 1000.0]).mean == pytest.approx(1.0)
    assert alone(one, [4.0, 3.0, 2.0, 1.0]).mean == pytest.approx(-1.0)
    assert alone(one, [1.0, 3.0, 2.0, 4.0]).mean == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_equal_values_share_their_ranks_as_in_scipy() -> None:
    from scipy.stats import spearmanr

    one, other = [0.1, 0.1, 0.3, 0.4, 0.4, 0.9, 0.2], [3.0, 1.0, 2.0, 2.0, 5.0, 4.0, 1.0]
    assert alone(one, other).mean == pytest.approx(spearmanr(one, other).statistic)


def test_runs_are_ranked_by_themselves_and_averaged() -> None:
    """A run whose scores are all higher says nothing about order: within each run it is perfect, over all it is not."""
    up, far = ranked([1.0, 2.0, 3.0], [7.0, 8.0, 9.0]), ranked([11.0, 12.0, 13.0], [1.0, 2.0, 3.0])
    found = between([[up], [far]])
    assert found.by_run == pytest.approx((1.0, 1.0)) and found.mean == pytest.approx(1.0)
    assert between([[up], [ranked([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])]]).mean == pytest.approx(0.0)


def test_levels_of_tasks_are_no_agreement() -> None:
    """Within each task the two go against each other; ranked together the task with the high values makes it +0.54."""
    from scipy.stats import spearmanr

    low, high = ranked([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]), ranked([11.0, 12.0, 13.0], [13.0, 12.0, 11.0])
    assert spearmanr(low.one + high.one, low.other + high.other).statistic == pytest.approx(0.543, abs=1e-3)
    assert between([[low, high]]).mean == pytest.approx(-1.0)


def test_tasks_weigh_the_same_within_a_run() -> None:
    """1 of three values and -1 of five: 0."""
    up, down = ranked([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ranked([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0])
    assert between([[up, down]]).mean == pytest.approx(0.0)


def test_the_interval_holds_the_value_and_narrows_with_more_values() -> None:
    import numpy as np

    random = np.random.default_rng(3)
    x = random.normal(size=400)
    y = x + random.normal(size=400)
    few, many = alone(x[:20].tolist(), y[:20].tolist()), alone(x.tolist(), y.tolist())
    for found in (few, many):
        assert found.ci_low is not None and found.ci_high is not None and found.mean is not None
        assert found.ci_low < found.mean < found.ci_high
    # Of two normal variables with correlation 0.707: 6/pi asin(0.707 / 2) = 0.690.
    assert many.ci_low < 0.690 < many.ci_high  # type: ignore[operator]
    assert many.ci_high - many.ci_low < (few.ci_high - few.ci_low) / 2  # type: ignore[operator]


def test_drafts_of_one_question_are_not_so_many_answers() -> None:
    """Every value four times: as values of their own the interval is half as wide as of the questions."""
    import numpy as np

    random = np.random.default_rng(5)
    x = random.normal(size=40)
    y = x + random.normal(size=40)
    four_x, four_y, names = np.repeat(x, 4).tolist(), np.repeat(y, 4).tolist(), [str(n // 4) for n in range(160)]
    apart, together, plain = alone(four_x, four_y), alone(four_x, four_y, names), alone(x.tolist(), y.tolist())

    def width(found: Correlation) -> float:
        assert found.ci_low is not None and found.ci_high is not None
        return found.ci_high - found.ci_low

    assert width(together) == pytest.approx(width(plain), rel=0.05)
    assert width(apart) < 0.65 * width(together)


@pytest.mark.parametrize("other", [[5.0, 5.0, 5.0], [5.0, 6.0]])
def test_nothing_is_known_of_equal_or_too_few_values(other: list[float]) -> None:
    found = alone([1.0, 2.0, 3.0][: len(other)], other)
    assert (found.mean, found.ci_low, found.ci_high, found.by_run) == (None, None, None, (None,))


def test_drafts_that_one_signal_left_out_are_left_out_and_questions_are_known() -> None:
    one = [score("t/1/a", 1.0), score("t/1/b", 2.0), score("u/1/a", 4.0, "u")]
    other = [score("t/2/a", 9.0), score("t/1/b", 5.0), score("t/1/a", 3.0), score("u/1/a", 6.0, "u")]
    assert of_drafts(one, other) == [
        Ranked((1.0, 2.0), (3.0, 5.0), ("t/1", "t/1")),
        Ranked((4.0,), (6.0,), ("u/1",)),
    ]


def test_a_group_is_worth_the_mean_of_its_drafts() -> None:
    scores = [score("a", 0.2), score("b", 0.4), score("c", 0.9)]
    gains = [Gain("t", ("a", "b"), 0.05, 0.3), Gain("t", ("b", "c"), -0.1, 0.2)]
    (found,) = of_groups(scores, gains, "accuracy")
    assert found.one == pytest.approx([0.3, 0.65]) and found.other == (0.05, -0.1)
    assert of_groups(scores, gains, "log_prob")[0].other == (0.3, 0.2)
