"""DPO's loss for pairs that are not all equally sure, and for pairs that are equally good.

What a pair carries beside its texts is its `Terms`: the lead it asks for, how far its label is softened, and whether it
is a tie. With no lead, no softening and no tie this is DPO's own sigmoid loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from edgedistill.artifacts import Pair
from edgedistill.pairs import EQUAL


@dataclass(frozen=True)
class Terms:
    """What DPO is to make of one pair."""

    lead: float = 0.0
    """By how much the reward of the chosen answer is to exceed the other's."""
    softness: float = 0.0
    """Weight of the opposite label, 0-1."""
    is_equal: bool = False
    """The two rewards are to be the same; the other terms do not count."""

    @property
    def row(self) -> list[float]:
        return [self.lead, self.softness, float(self.is_equal)]


def terms_of(pairs: Sequence[Pair], margin_scale: float) -> list[Terms] | None:
    """The terms of each pair; None where all are plain, and TRL's own loss will do."""
    found = [_terms(pair, margin_scale) for pair in pairs]
    return found if any(one != Terms() for one in found) else None


def _terms(pair: Pair, margin_scale: float) -> Terms:
    if pair.label == EQUAL:
        return Terms(is_equal=True)
    lead = margin_scale * pair.margin if pair.strength == "margin" else 0.0
    return Terms(lead, pair.doubt if pair.strength == "smooth" else 0.0)


def pair_loss(change: Tensor, terms: Tensor, beta: float, tie_weight: float) -> Tensor:
    """DPO's loss with a lead, softened labels and ties; mean over the pairs.

        preferred   -(1 - a) log sigmoid(beta d - u) - a log sigmoid(u - beta d)
        equal       tie_weight (beta d)^2

    Shapes   B pairs
        change   (B,)   float   d: the chosen answer's log-probability ratio to the reference minus the rejected one's
        terms    (B, 3) float   u lead, a softness, 1 for a tie and 0 for a preference
        returns  ()     float
    Source   DPO, arXiv:2305.18290v3, eq. 7. Lead and softness: Secrets of RLHF II, arXiv:2401.06080, adaptive margin
             and label smoothing, there of a reward model, whose place `beta d` takes. Ties: the squared difference of
             the rewards is one form of MTPL's extra task, arXiv:2409.07268, which we chose
    """
    lead, softness, is_equal = terms.unbind(dim=1)
    reward = beta * change.float()
    ahead = reward - lead
    preferred = -(1 - softness) * logsigmoid(ahead) - softness * logsigmoid(-ahead)
    return torch.where(is_equal.bool(), tie_weight * reward.square(), preferred).mean()
