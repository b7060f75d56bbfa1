"""Against published examples; the sources are beside the numbers."""

from __future__ import annotations

import pytest

from edgedistill.statistics import (
    bootstrap_drop,
    mcnemar_exact,
    paired_drop,
    percentile,
    resampled_means,
    spread,
    tango,
    variance_of_runs,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_table_of_newcombe_1998(successes, n, low, high):
    """Statistics in Medicine 17, 857-872, table I, method 3."""
    found = wilson(successes, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_of_nothing_is_everything():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert wilson(20, 20).high == 1.0


def test_tango_gives_the_example_of_fagerland_2014():
    """Statistics in Medicine 33, 2850-2875: airway hyper-responsiveness, 7 against 1 of 21 pairs: -0.517 to -0.026."""
    found = tango(1, 7, 21)
    assert found.low == pytest.approx(-0.517, abs=5e-4)
    assert found.high == pytest.approx(-0.026, abs=5e-4)


def test_tango_turns_with_the_direction():
    one, other = tango(1, 7, 21), tango(7, 1, 21)
    assert (other.low, other.high) == (pytest.approx(-one.high), pytest.approx(-one.low))


def test_tango_keeps_its_width_when_nothing_differs():
    """With no discordant pair the score equation is n d^2 = z^2 (d (1 - d) + ...): d = z^2 / (n + z^2) = 0.01264."""
    found = tango(0, 0, 300)
    assert found.high == pytest.approx(3.841459 / 303.841459, abs=1e-6)
    assert found.low == pytest.approx(-found.high)


def test_mcnemar_by_hand():
    """2 (1 + 8) / 2^8 for 1 against 7; 1 where both are equal; 1 where nothing differs."""
    assert mcnemar_exact(1, 7) == pytest.approx(18 / 256)
    assert mcnemar_exact(7, 1) == pytest.approx(18 / 256)
    assert mcnemar_exact(3, 3) == 1.0
    assert mcnemar_exact(0, 0) == 1.0


def test_a_drop_counts_pairs():
    before = [True] * 6 + [False] * 4
    after = [True] * 4 + [False] * 2 + [True] + [False] * 3
    found = paired_drop(before, after)
    assert (found.n, found.lost, found.gained, found.drop) == (10, 2, 1, pytest.approx(0.1))
    assert found.interval.low < 0.1 < found.interval.high
    assert found.mcnemar_p == 1.0


def test_bootstrap_of_the_drop_is_that_of_scipy():
    """Items drawn again one by one, by an independent implementation."""
    import numpy as np
    from scipy.stats import bootstrap

    changes = np.array([1.0] * 30 + [-1.0] * 12 + [0.0] * 258)
    theirs = bootstrap(
        (changes,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_drop(30, 12, 300)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.004), pytest.approx(theirs.high, abs=0.004))
    assert bootstrap_drop(30, 12, 300) == ours, "the same every time"


def test_bootstrap_has_no_width_where_nothing_differs_and_the_other_interval_decides():
    found = paired_drop([True] * 300, [True] * 300)
    assert (found.bootstrap.low, found.bootstrap.high) == (0.0, 0.0)
    assert found.worst == found.interval.high > 0.012


def test_percentiles_lie_between_values():
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert percentile([1.0, 2.0, 3.0], 1.0) == 3.0
    assert spread([10.0, 20.0, 30.0, 40.0, 50.0]) == pytest.approx(20 / 30)


def test_resampled_means_have_the_error_of_the_mean_and_keep_pairs():
    """0/1 items with mean 0.2: the standard error of 400 items is sqrt(0.16 / 400) = 0.02. A copy plus 0.1 differs by
    0.1 in every resample."""
    import numpy as np

    one = np.array([1.0] * 80 + [0.0] * 320)
    tables = [np.stack([one, one + 0.1]), np.stack([one[::4], one[::4]])]
    drawn = resampled_means(tables, 4000)
    assert drawn.shape == (4000, 2, 2)
    assert drawn[:, 0, 0].mean() == pytest.approx(0.2, abs=2e-3)
    assert drawn[:, 0, 0].std() == pytest.approx(0.02, rel=0.05)
    assert drawn[:, 1, 0].std() == pytest.approx(0.04, rel=0.05)
    assert np.allclose(drawn[:, 0, 1] - drawn[:, 0, 0], 0.1)
    assert np.array_equal(drawn, resampled_means(tables, 4000))


def test_variance_of_runs_by_hand():
    """Runs that differ by a constant, 0, 0.1 and 0.2, leave no residual: variance 0.01, of the mean of three 0.01 / 3.
    Two tasks, of which one has no such difference, weighing half each: a quarter of it."""
    import numpy as np

    items = np.array([0.0, 1.0, 0.5, 0.25])
    moved = np.stack([items, items + 0.1, items + 0.2])
    assert variance_of_runs([moved], [1.0]) == pytest.approx(0.01 / 3)
    assert variance_of_runs([moved, np.stack([items] * 3)], [0.5, 0.5]) == pytest.approx(0.0025 / 3)
    assert variance_of_runs([moved[:1]], [1.0]) == 0.0


def test_runs_that_differ_by_chance_alone_add_no_variance_on_average():
    """Means of 3 runs of 50 coins vary by 0.25 / 50; all of it is the residual, so what is left is near 0."""
    import numpy as np

    random = np.random.default_rng(4)
    found = [variance_of_runs([(random.random((3, 50)) < 0.5).astype(float)], [1.0]) for _ in range(300)]
    assert min(found) == 0.0
    assert np.mean(found) < 0.4 * 0.25 / 50
