"""Item response theory recovers what it was given, and its gradient is the slope of its loss."""

from __future__ import annotations

import pytest

from edgedistill import irt

np = pytest.importorskip("numpy")
scipy_stats = pytest.importorskip("scipy.stats")


def simulated(respondents, items, seed=0):
    """Abilities, discriminations, difficulties drawn from the priors, and 0-1 answers by the model's own formula."""
    random = np.random.default_rng(seed)
    ability, difficulty = random.normal(size=respondents), random.normal(size=items)
    discrimination = np.exp(random.normal(scale=0.5**0.5, size=items))
    chance = 1 / (1 + np.exp(-discrimination * (ability[:, None] - difficulty)))
    answers = (random.random(chance.shape) < chance).astype(float)
    return ability, discrimination, difficulty, answers


def rank_correlation(a, b):
    return scipy_stats.spearmanr(a, b).statistic


def test_known_parameters_are_recovered_from_simulated_answers():
    ability, discrimination, difficulty, answers = simulated(respondents=400, items=60)
    fitted = irt.fit(answers)
    assert rank_correlation(fitted.ability, ability) > 0.95
    assert rank_correlation(fitted.difficulty, difficulty) > 0.95
    assert rank_correlation(fitted.discrimination, discrimination) > 0.9
    assert np.abs(np.log(fitted.discrimination / discrimination)).mean() < 0.25


def test_twenty_respondents_still_tell_good_items_from_bad_ones():
    """ARTE's number of rows. Half of 100 items discriminate well (2.5), half hardly (0.3): most of 40 kept are good.

    Chance would keep 20.
    """
    random = np.random.default_rng(3)
    ability, difficulty = np.linspace(-2, 2, 20), random.normal(scale=0.7, size=100)
    discrimination = np.where(np.arange(100) % 2, 2.5, 0.3)
    chance = 1 / (1 + np.exp(-discrimination * (ability[:, None] - difficulty)))
    kept = irt.most_discriminating(irt.fit(random.random(chance.shape) < chance), 40)
    assert kept == sorted(kept) and len(set(kept)) == 40
    assert sum(item % 2 for item in kept) >= 34


def test_an_item_that_only_the_weak_get_right_is_kept_last():
    answers = np.zeros((12, 4))
    answers[6:, 0] = 1  # the able half
    answers[6:, 1] = 1
    answers[:6, 2] = 1  # the weak half
    answers[::2, 3] = 1  # no matter who
    fitted = irt.fit(answers)
    assert irt.most_discriminating(fitted, 2) == [0, 1]
    assert np.argmin(fitted.discrimination) == 2


def test_the_gradient_is_the_slope_of_the_loss():
    from scipy.optimize import approx_fprime

    random = np.random.default_rng(1)
    answers, asked = random.random((5, 3)), random.random((5, 3)) < 0.7
    given = (asked * answers, asked * (1 - answers), np.array([-1.0, 0.5, 2.0]), np.log([0.2, 0.5, 0.3]))
    point = random.normal(size=2 * 3)
    slope = approx_fprime(point, lambda at: irt._loss(at, *given)[0], 1e-6)
    assert irt._loss(point, *given)[1] == pytest.approx(slope, abs=1e-4)


def test_what_was_not_asked_does_not_count():
    *_, answers = simulated(respondents=30, items=7)
    asked = np.random.default_rng(2).random(answers.shape) < 0.5
    one, other = irt.fit(answers, asked), irt.fit(np.where(asked, answers, 1 - answers), asked)
    assert one.probabilities == pytest.approx(other.probabilities)
    assert one.probabilities.shape == (30, 7)


def test_a_respondent_without_answers_has_the_mean_ability():
    *_, answers = simulated(respondents=9, items=5)
    asked = np.ones_like(answers, dtype=bool)
    asked[4] = False
    assert irt.fit(answers, asked).ability[4] == pytest.approx(0, abs=1e-9)
