"""The lesson of PAD: a student ranks its own responses to a prompt by their mean log-probability, as a teacher does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgedistill.ml.answer_logits import at_answers
from edgedistill.ml.lessons import Item, answer_mask, split
from edgedistill.ml.losses import mean_log_probs, own_log_probs, ppd_loss, ppd_released_loss, vpd_loss
from edgedistill.ml.plackett_luce import ranking_entropy
from edgedistill.ml.turns import Turn

LOSSES: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "ppd": ppd_loss,
    "vpd": vpd_loss,
    "ppd_released": ppd_released_loss,
}


@dataclass(frozen=True)
class Group:
    """Responses to one prompt that are ranked together."""

    answers: tuple[Turn, ...]
    scores: tuple[float, ...]
    """The teacher's, in nats."""
    taught: Turn
    """The row's own answer."""


@dataclass(frozen=True)
class Ranking:
    """Rank these responses as the teacher does. See `lessons.Lesson`."""

    groups: list[Group]
    name: str
    """Of the loss."""
    scales: tuple[float, float]
    """Beta of the student's and of the teacher's scores."""
    sft_weight: float = 0.0

    def count(self, items: Sequence[Item]) -> int:
        """Groups."""
        return len(items)

    def loss(self, model: Any, items: Sequence[Item]) -> tuple[Tensor, dict[str, float]]:
        """Over the groups; the curve gets the teacher's entropy in nats, and agreement on the best response, 0-1."""
        groups = [self.groups[item.row] for item in items]
        student = rewards(model, [turn for group in groups for turn in group.answers]).view(len(groups), -1)
        teacher = torch.tensor([group.scores for group in groups], device=student.device)
        total = LOSSES[self.name](student, teacher, *self.scales).sum()
        told = {
            "teacher_entropy": float(ranking_entropy(teacher, self.scales[1]).sum()),
            "agreement": float((student.argmax(dim=1) == teacher.argmax(dim=1)).sum()),
        }
        if self.sft_weight:
            total = total - self.sft_weight * rewards(model, [group.taught for group in groups]).sum()
        return total, told


def rewards(model: Any, turns: Sequence[Turn]) -> Tensor:
    """Mean log-probability of each turn's answer, (R,) float32 in nats per token."""
    own = at_answers(model, turns, own_log_probs)
    return mean_log_probs(split(own, turns), answer_mask(turns, own.device))


def teacher_entropy(groups: Sequence[Group], beta: float) -> float:
    """Mean over groups, in nats."""
    scores = torch.tensor([group.scores for group in groups])
    return float(ranking_entropy(scores, beta).mean())
