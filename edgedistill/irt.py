"""Item response theory: which items tell good respondents from bad ones.

    P(respondent i answers item j rightly) = sigmoid(discrimination_j * (ability_i - difficulty_j))

Source   The two-parameter logistic model of Birnbaum 1968, named in ARTE, arXiv:2406.19227v1, sec. 3.2. The paper fits
         it to some 20 respondents, for which the maximum of the likelihood alone is badly determined. Here the items
         are the maximum of the posterior with the priors below, which are ours, and the abilities are integrated out
         (Mislevy 1986, Psychometrika 51, 177-195): fitted jointly they shrink, and the discriminations blow up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

LOG_DISCRIMINATION_VARIANCE = 0.5
"""Priors: ability ~ N(0, 1), log discrimination ~ N(0, 0.5), difficulty ~ N(0, 1); second numbers are variances."""

_NODES = 31
"""Abilities at which the integral is taken (Gauss-Hermite)."""
_STEPS = 300


@dataclass(frozen=True)
class Fitted:
    """Arrays of float64."""

    discrimination: Any
    """(J,), above 0; near 0 for an item that the weak get right rather than the able."""
    difficulty: Any
    """(J,)"""
    ability: Any
    """(I,) posterior means"""
    probabilities: Any
    """(I, J) how likely each respondent answers each item rightly: mean over what its ability may be"""


def fit(answers: Any, asked: Any = None) -> Fitted:
    """The most likely items and then the abilities, given the answers and the priors.

    Shapes   I respondents, J items
        answers  (I, J) 0-1      1 is right; partial credit is allowed
        asked    (I, J) bool     False where there is no answer, whose value does not count; None: all were asked
    """
    import numpy as np
    from scipy.optimize import minimize

    answers = np.asarray(answers, dtype=np.float64)
    asked = np.ones_like(answers) if asked is None else np.asarray(asked, dtype=np.float64)
    right, wrong = asked * answers, asked * (1 - answers)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    log_weights = np.log(weights / weights.sum())
    start, given = np.zeros(2 * answers.shape[1]), (right, wrong, nodes, log_weights)
    found = minimize(_loss, start, args=given, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    log_discrimination, difficulty = np.split(found, 2)
    chance = np.exp(_log_chances(found, nodes)[0])
    posterior, _ = _posterior(found, *given)
    return Fitted(np.exp(log_discrimination), difficulty, posterior @ nodes, posterior @ chance.T)


def _log_chances(point: Any, nodes: Any) -> tuple[Any, Any]:
    """(J, Q) log probabilities of a right and of a wrong answer at each ability."""
    import numpy as np

    log_discrimination, difficulty = np.split(point, 2)
    logit = np.exp(log_discrimination)[:, None] * (nodes - difficulty[:, None])
    return -np.logaddexp(0, -logit), -np.logaddexp(0, logit)


def _posterior(point: Any, right: Any, wrong: Any, nodes: Any, log_weights: Any) -> tuple[Any, float]:
    """(I, Q) probability of each ability given the answers, and the log likelihood of all answers."""
    import numpy as np
    from scipy.special import logsumexp

    log_right, log_wrong = _log_chances(point, nodes)
    joint = right @ log_right + wrong @ log_wrong + log_weights
    evidence = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - evidence), float(evidence.sum())


def _loss(point: Any, right: Any, wrong: Any, nodes: Any, log_weights: Any) -> tuple[float, Any]:
    """Negative log posterior and its gradient at (J log discriminations, J difficulties)."""
    import numpy as np

    log_discrimination, difficulty = np.split(point, 2)
    discrimination = np.exp(log_discrimination)
    posterior, likelihood = _posterior(point, right, wrong, nodes, log_weights)
    prior = ((log_discrimination**2).sum() / LOG_DISCRIMINATION_VARIANCE + (difficulty**2).sum()) / 2
    # Expected right answers less expected answers times their chance, (J, Q): the derivative by the logit.
    excess = right.T @ posterior - ((right + wrong).T @ posterior) * np.exp(_log_chances(point, nodes)[0])
    by_log_discrimination = (excess * (nodes - difficulty[:, None])).sum(axis=1) * discrimination
    by_difficulty = -excess.sum(axis=1) * discrimination
    slope = (
        log_discrimination / LOG_DISCRIMINATION_VARIANCE - by_log_discrimination,
        difficulty - by_difficulty,
    )
    return prior - likelihood, np.concatenate(slope)


def most_discriminating(fitted: Fitted, count: int, last: Collection[int] = ()) -> list[int]:
    """The numbers of the `count` items that discriminate most, in the order of the items. Ties go to the earlier one.

    last  items that are taken only when there are too few others
    """
    items = range(len(fitted.discrimination))
    return sorted(sorted(items, key=lambda item: (item in last, -fitted.discrimination[item], item))[:count])
