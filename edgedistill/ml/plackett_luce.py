"""Distributions over all rankings of a prompt's responses, and the losses of PAD that compare two of them.

A model scores n responses; with a scale beta the scores say how likely each of the n! orders is: the first place goes
to a response with the odds exp(beta * score), the second place to one of the others in the same way, and so on. For
n = 2 that is Bradley-Terry.

Source  Plackett-Luce: R. Plackett, "The analysis of permutations", 1975. PAD: arXiv:2502.14272, and its released code
        (github.com/EganGu/PAD), whose `ppd` is not the divergence that the paper names.

Shapes  B prompts, n responses, n! rankings
"""

from __future__ import annotations

import math
from functools import cache
from itertools import permutations

import torch
from torch import Tensor


@cache
def rankings(n: int) -> Tensor:
    """(n!, n) int64: every order of n responses, best first, in lexicographic order."""
    return torch.tensor(list(permutations(range(n))))


def plackett_luce_log_probs(scores: Tensor, beta: float) -> Tensor:
    """Natural-log probability of every ranking, in the order of `rankings(n)`.

        log P(tau) = sum over places k of  beta s_tau(k) - log sum over l >= k of exp(beta s_tau(l))

    Shapes   scores   (B, n)  float     in nats; n up to 6 or so, since n! rankings are written out
             returns  (B, n!) float64   differences of large scores leave nothing of float32's digits
    """
    ranked = (beta * scores.double())[:, rankings(scores.shape[1]).to(scores.device)]  # (B, n!, n)
    left = ranked.flip(-1).logcumsumexp(dim=-1).flip(-1)  # of those that have no place yet
    return (ranked - left).sum(dim=-1)


def ppd_loss(student: Tensor, teacher: Tensor, beta_student: float, beta_teacher: float) -> Tensor:
    """Probabilistic preference distillation: Jensen-Shannon divergence of the two ranking distributions, per prompt.

        0.5 KL(P_s || M) + 0.5 KL(P_t || M),   M = (P_s + P_t) / 2

    Shapes   student, teacher  (B, n) float   scores in nats
             returns           (B,)   float32  in nats, 0 to ln 2
    Source   PAD, arXiv:2502.14272, the loss that it calls PPD
    """
    ours = plackett_luce_log_probs(student, beta_student)
    theirs = plackett_luce_log_probs(teacher, beta_teacher)
    middle = torch.logaddexp(ours, theirs) - math.log(2)
    to_middle = ours.exp() * (ours - middle) + theirs.exp() * (theirs - middle)
    return 0.5 * to_middle.sum(dim=-1).float()


def vpd_loss(student: Tensor, teacher: Tensor, beta_student: float, beta_teacher: float = 1.0) -> Tensor:
    """Vanilla preference distillation: how surprised the student is by the teacher's one ranking, per prompt.

        - log P_s( responses by falling teacher score )

    Equal teacher scores have no order; the mean over all orders of them is taken, so that the order in which the
    responses come does not matter. `beta_teacher` is there for the sake of one signature: an order has no scale.

    Shapes   student, teacher  (B, n) float   scores in nats
             returns           (B,)   float32  in nats, never negative
    Source   PAD, arXiv:2502.14272, the loss that it calls VPD; the rule for ties is ours
    """
    ours = plackett_luce_log_probs(student, beta_student)
    ranked = teacher[:, rankings(teacher.shape[1]).to(teacher.device)]
    falls = (ranked[..., :-1] >= ranked[..., 1:]).all(dim=-1)  # (B, n!)
    return -((ours * falls).sum(dim=-1) / falls.sum(dim=-1)).float()


def ppd_released_loss(student: Tensor, teacher: Tensor, beta_student: float, beta_teacher: float) -> Tensor:
    """What PAD's released code computes under the name of PPD. For comparison; its two defects are kept.

        0.5 KL(M || P_s) + 0.5 KL(M || P_t),   M = sum over the prompts of the batch of (P_s + P_t) / 2

    The divergence points the other way, so it has no upper bound, and the mixture is summed over the batch, so that for
    B > 1 it has mass B and the loss is not 0 where student and teacher agree.

    Shapes   as ppd_loss; a prompt's loss depends on the other prompts of the batch
    Source   github.com/EganGu/PAD at 89f2a91, `loss_type: pd`
    """
    ours = plackett_luce_log_probs(student, beta_student)
    theirs = plackett_luce_log_probs(teacher, beta_teacher)
    middle = torch.cat([ours, theirs]).logsumexp(dim=0) - math.log(2)  # (n!,)
    from_middle = middle.exp() * (2 * middle - ours - theirs)
    return 0.5 * from_middle.sum(dim=-1).float()


def ranking_entropy(scores: Tensor, beta: float) -> Tensor:
    """How undecided a ranking distribution is, (B,) in nats: 0 for one sure order, ln n! where all are alike."""
    log_probs = plackett_luce_log_probs(scores, beta)
    return -(log_probs.exp() * log_probs).sum(dim=-1).float()
