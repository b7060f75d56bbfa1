"""How strong a preference is: against the binomial distribution, and by hand."""

from __future__ import annotations

import math

import pytest

from edgedistill.artifacts import Score
from edgedistill.strength import mean_credits, measure


def test_the_spread_is_the_standard_error_of_the_mean_change() -> None:
    """Twelve items gained, four lost, 24 the same: mean 0.2, sd sqrt(16/40 - 0.04) = 0.6, over sqrt(40): 0.0949."""
    better, worse = [1.0] * 12 + [0.0] * 4 + [1.0] * 24, [0.0] * 12 + [1.0] * 4 + [1.0] * 24
    found = measure(better, worse, 0.2)
    assert found.spread == pytest.approx(0.6 / math.sqrt(40), rel=0.05)
    assert found.low == pytest.approx(0.2 - 1.96 * 0.0949, abs=0.03)
    assert found.high == pytest.approx(0.2 + 1.96 * 0.0949, abs=0.03)


def test_doubt_is_the_chance_that_the_order_turns_by_binomial_sums() -> None:
    """Of ten items the better one gains three and loses one: a resample has a gains and b losses, (10; .3, .1, .6)."""
    turned = 0.0
    for a in range(11):
        for b in range(11 - a):
            chance = math.comb(10, a) * math.comb(10 - a, b) * 0.3**a * 0.1**b * 0.6 ** (10 - a - b)
            turned += chance * (1.0 if b > a else 0.5 if a == b else 0.0)
    found = measure([1.0] * 4 + [0.0] + [1.0] * 5, [0.0] * 3 + [1.0, 1.0] + [1.0] * 5, 0.2)
    assert found.doubt == pytest.approx(turned, abs=0.03)


@pytest.mark.parametrize(("gained", "lost", "is_equal"), [(0, 0, True), (3, 2, True), (14, 2, False), (1, 0, True)])
def test_two_are_equal_where_zero_is_within_the_interval(gained: int, lost: int, is_equal: bool) -> None:
    """14 against 2 of 40: 0.3 with standard error 0.089. One item alone is absent from a third of the resamples."""
    better = [1.0] * gained + [0.0] * lost + [1.0] * (40 - gained - lost)
    worse = [0.0] * gained + [1.0] * lost + [1.0] * (40 - gained - lost)
    assert measure(better, worse, (gained - lost) / 40).is_equal is is_equal


def test_identical_answers_are_half_in_doubt_and_a_lead_on_every_item_is_not() -> None:
    same, ahead = measure([1.0, 0.0, 1.0], [1.0, 0.0, 1.0], 0.0), measure([1.0] * 3, [0.5] * 3, 0.5)
    assert (same.spread, same.doubt, same.is_equal) == (0.0, 0.5, True)
    assert (ahead.spread, ahead.doubt, ahead.is_equal) == (0.0, 0.0, False)


def test_only_items_that_both_answered_count_and_the_gap_stays_the_scores() -> None:
    """Racing: what one side was not asked says nothing. The mean of the resamples is the estimate, not their own."""
    found = measure([1.0, None, 0.0, 1.0, 1.0], [0.0, 1.0, None, 0.0, 1.0], 0.3)
    alone = measure([1.0, 1.0, 1.0], [0.0, 0.0, 1.0], 0.3)
    assert found == alone
    # Resamples of the changes 1, 1 and 0 have a mean of 0 (in 1 of 27), 1/3, 2/3 or 1; moved so that 2/3 becomes 0.3.
    assert (found.low, found.high) == pytest.approx((0.3 - 2 / 3, 0.3 + 1 / 3))
    assert found.spread == pytest.approx(math.sqrt(1 / 3 * 2 / 3 / 3), rel=0.05)


def test_nothing_is_known_of_fewer_than_two_common_items() -> None:
    found = measure([1.0, None], [0.0, 1.0], 0.6)
    assert (found.spread, found.doubt, found.is_equal) == (None, 0.5, False)


def test_a_question_is_worth_its_drafts_item_by_item() -> None:
    scores = [Score("a", "t", 0.5, "10-"), Score("b", "t", 0.5, "11-"), Score("c", "t", 0.0, "0--")]
    assert mean_credits(scores) == [pytest.approx(2 / 3), 0.5, None]
