"""Token-level losses that compare a student's next-token distribution with a teacher's.

A teacher is known by its K likeliest tokens at each position. What it gives to all others is one more bin, the rest, on
both sides: so both sums are 1, no divergence can go negative, and each is at most the one over the whole vocabulary.
With K = V there is no rest, and the divergences are exact.

The losses of whole answers can be had from here as well: of rankings (plackett_luce.py) and of pairs (pair_loss.py).

Shapes   N counted positions, V vocabulary, K kept tokens
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from edgedistill.ml.pair_loss import pair_loss
from edgedistill.ml.plackett_luce import plackett_luce_log_probs, ppd_loss, ppd_released_loss, vpd_loss

__all__ = [
    "divergence",
    "forward_kl",
    "generalized_jsd",
    "in_bins",
    "mean_log_probs",
    "own_log_probs",
    "pair_loss",
    "plackett_luce_log_probs",
    "ppd_loss",
    "ppd_released_loss",
    "reverse_kl",
    "sampled_reverse_kl",
    "top_kd_loss",
    "vpd_loss",
    "with_rest",
]

Divergence = Literal["forward", "reverse", "jsd"]

_LEAST = -30.0
"""Log-probability from which on a teacher's bin counts as empty, 1e-13: reverse KL would otherwise flee it for ever."""

_ROUNDING = 3e-7
"""What is left of 1 after float32 rounding; a teacher's rest is at least this."""


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) per position: the student is to cover all that the teacher would say.

    Shapes   student, teacher  (N, K) float   natural-log probabilities of the same bins
             returns           (N,)   float   in nats, never negative but for rounding
    Source   Hinton et al. 2015, arXiv:1503.02531v1, sec. 2, at temperature 1
    """
    return (teacher.exp() * (teacher - student)).sum(dim=-1)


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(student || teacher) per position: the student is to say only what the teacher would.

    Shapes   as forward_kl
    Source   MiniLLM, arXiv:2306.08543v2, eq. 1, for one position
    """
    return forward_kl(teacher, student)


def generalized_jsd(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """beta KL(teacher || M) + (1 - beta) KL(student || M), with M = beta teacher + (1 - beta) student, per position.

    beta between 0 and 1. Divided by beta it tends to the forward KL as beta falls to 0, and divided by 1 - beta to the
    reverse KL as beta rises to 1; at 1/2 it is the Jensen-Shannon divergence, at most ln 2.

    Shapes   as forward_kl
    Source   GKD, arXiv:2306.13649v3, eq. 1
    """
    middle = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * forward_kl(middle, teacher) + (1 - beta) * forward_kl(middle, student)


def divergence(student: Tensor, teacher: Tensor, kind: Divergence, beta: float = 0.5) -> Tensor:
    """One of the three, (N,) in nats. `beta` is read by `jsd`."""
    if kind == "jsd":
        return generalized_jsd(student, teacher, beta)
    return {"forward": forward_kl, "reverse": reverse_kl}[kind](student, teacher)


def own_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """Natural-log probability of each token itself.

    Shapes   logits (N, V) float raw, targets (N,) int64, returns (N,) float32
    """
    return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def in_bins(logits: Tensor, ids: Tensor | None) -> Tensor:
    """A distribution over the vocabulary as log-probabilities of K tokens, and of all others together.

    Shapes   logits   (N, V)     float    raw
             ids      (N, K)     int64    distinct in each row; None: the whole vocabulary, in its order
             returns  (N, K + 1) float32  the last bin is the rest; (N, K) where K = V
    """
    logits = logits.float()
    if ids is None:
        return logits.log_softmax(dim=-1)
    whole = logits.logsumexp(dim=-1, keepdim=True)
    kept = logits.gather(-1, ids) - whole
    if ids.shape[-1] == logits.shape[-1]:
        return kept
    # Not 1 minus the sum of the kept ones: where they are nearly all, that has no digits left, nor has its gradient.
    rest = logits.scatter(-1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True) - whole
    return torch.cat([kept, rest], dim=-1)


def with_rest(log_probs: Tensor) -> Tensor:
    """Add the bin of the rest to a teacher's K log-probabilities, whose sum is at most 1.

    Shapes   log_probs  (N, K)     float
             returns    (N, K + 1) float32
    """
    log_probs = log_probs.float()
    rest = torch.log1p(-log_probs.exp().sum(dim=-1, keepdim=True).clamp(max=1 - _ROUNDING))
    return torch.cat([log_probs, rest], dim=-1)


def top_kd_loss(logits: Tensor, ids: Tensor | None, teacher: Tensor, kind: Divergence, beta: float = 0.5) -> Tensor:
    """Divergence of the student from a teacher that is known by its K likeliest tokens, per position.

    Shapes   logits   (N, V)               float   the student's, raw
             ids      (N, K)               int64   the teacher's likeliest tokens; None: all, in their order
             teacher  (N, K + 1) or (N, V) float   natural-log probabilities of those, and of the rest as with_rest
                                                   gives it; without it where K = V
             returns  (N,)                 float32  in nats
    Source   the divergences' own; the rest bin is ours
    """
    return divergence(in_bins(logits, ids), teacher.float().clamp(min=_LEAST), kind, beta)


def sampled_reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Reverse KL by the drawn tokens alone, as a policy gradient.

        (log p_S(a) - log p_T(a)) p_S(a) / p_S(a)    with the gradient through the last numerator only

    In the mean over a's that the student draws, this gradient is that of KL(student || teacher) at the position.

    Shapes   student, teacher  (N,) float   natural-log probabilities of the tokens that the student drew
             returns           (N,) float   value log p_S(a) - log p_T(a), an estimate of the divergence in nats
    Source   On-Policy Distillation, Thinking Machines Lab, 2025: advantage without discount. What the teacher holds
             next to impossible counts as 1e-13, as in the other divergences: one token must not decide a step
    """
    lead = (student - teacher.clamp(min=_LEAST)).detach()
    return lead * (student - student.detach()).exp()


def mean_log_probs(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Length-normalized log-likelihood of each response: PAD's reward of a response.

    Shapes   R responses, T positions
        log_probs  (R, T) float   of the tokens
        mask       (R, T) bool    True where the token is the response's; what is False cannot leak, not even as NaN
        returns    (R,)   float   in nats per token; 0 for a response without tokens
    Source   PAD, arXiv:2502.14272: the student's reward
    """
    total = log_probs.masked_fill(~mask, 0.0).sum(dim=-1)
    return total / mask.sum(dim=-1).clamp(min=1)
