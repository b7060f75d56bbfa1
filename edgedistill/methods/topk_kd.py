"""Logit distillation from a cache: the student learns the teacher's distribution over the tokens of the tailored rows.

The teacher wrote down its likeliest tokens before (`teach`), once for every student and epoch, so it is not in memory
here. What it gives to all others is one bin, the rest. Temperature 1: a cut distribution has no other.

Source  Hinton et al. 2015, arXiv:1503.02531v1, sec. 2; several teachers: SKDBERT, arXiv:2211.14466, one per step
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from edgedistill.errors import StageFailed
from edgedistill.learning import HintsConfig, TutoredConfig
from edgedistill.log import say
from edgedistill.methods import sft
from edgedistill.models import Model
from edgedistill.sections import Asks
from edgedistill.tutors import Tutor

if TYPE_CHECKING:
    from torch import Tensor

    from edgedistill.ml.hint_shards import HintShards
    from edgedistill.ml.lessons import Item
    from edgedistill.ml.turns import Turn

VERSION = 2  # 2: what a teacher gives to padding is shared out


class Config(TutoredConfig):
    """Options of `method: topk_kd`."""

    top_k: Annotated[int, Field(ge=1)] = 32
    """Likeliest tokens that the teacher writes down at each place. More is closer to the whole distribution, and takes
    more room on the disk: 130 bytes a token at 32, 194 with a vocabulary of more than 65,536."""
    divergence: Literal["forward", "reverse", "jsd"] = "forward"
    """KL from teacher to student, the other way, or between them. Forward suits rows that the teacher wrote."""
    jsd_beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """With `jsd`: weight of the teacher in the mixture; near 0 as forward, near 1 as reverse."""
    hard_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the loss that is the cross-entropy of the rows' own tokens, as `sft` has it."""
    vocabulary: Literal["equal", "padded", "text"] = "equal"
    """What teacher and student must share. `padded`: the tokenizer; embeddings may be padded to other sizes, and what
    the teacher gives to padding is shared by the other tokens. `text`: with another tokenizer the student learns the
    rows' text, as `sft` does."""

    @property
    def hints(self) -> HintsConfig:
        """What the teachers write down beforehand."""
        return HintsConfig(top_k=self.top_k, max_tokens=self.max_tokens, vocabulary=self.vocabulary)

    @property
    def asks(self) -> Asks:
        return Asks(teacher_scores=1)


def train(
    out: Path, rows: list[tuple[str, str]], student: Model, config: Config, seed: int, tutors: Sequence[Tutor] = ()
) -> dict[str, Any]:
    """Draw the student's distributions over the rows' tokens towards those that the tutors wrote down.

    Leaves  model/ and curve.jsonl with the divergence in nats per token
    Returns rows trained on, rows left out as too long, steps, tokens that the student read
    Raises  StageFailed when no row is short enough, or the loss is no longer a number
    """
    written = [tutor.hints for tutor in tutors if tutor.hints]
    assert len(written) == len(tutors) > 0, "topk_kd needs the hints of every tutor"
    if any(hints.counts()["is_text_only"] for hints in written):
        say("  distill: a teacher has another vocabulary; the student learns the rows' text")
        return {**sft.train(out, rows, student, config, seed), "note": "text only, another vocabulary"}
    from edgedistill.ml.hint_shards import HintShards
    from edgedistill.ml.lessons import learn
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(student.path)
    encoded = turns(tokenizer, end_ids(student.path, tokenizer), rows)
    kept = [row for row, turn in enumerate(encoded) if len(turn) <= config.max_tokens]
    if not kept:
        raise StageFailed(
            f"distill: all {len(rows):,} rows are longer than {config.max_tokens} tokens", "raise `distill.max_tokens`"
        )
    shards = [HintShards(hints.folder) for hints in written]
    places = tutors[0].places or range(len(rows))
    for shard in shards:
        lengths = [shard.length(places[row]) for row in kept]
        assert lengths == [len(encoded[row].completion_ids) for row in kept], "these hints are of other rows"
    lesson = Cached([encoded[row] for row in kept], [places[row] for row in kept], shards, config)
    learned = learn(out, student, lesson, [len(encoded[row]) for row in kept], config, seed, tutors)
    return {"rows": len(kept), "too_long": len(rows) - len(kept), **learned}


@dataclass(frozen=True)
class Cached:
    """The lesson: what a tutor wrote down is what the student should say."""

    turns: list[Turn]
    numbers: list[int]
    """Of each turn among all rows, which the shards count."""
    shards: list[HintShards]
    """By tutor."""
    config: Config

    def count(self, items: Sequence[Item]) -> int:
        return sum(len(self.turns[item.row].completion_ids) for item in items)

    def loss(self, model: Any, items: Sequence[Item]) -> tuple[Tensor, dict[str, float]]:
        import torch

        from edgedistill.ml.answer_logits import at_answers

        hints = [self.shards[item.tutor].row(self.numbers[item.row]) for item in items]
        ids, teacher = (torch.cat(parts).to(model.device) for parts in zip(*hints, strict=True))
        apart, own = at_answers(model, [self.turns[item.row] for item in items], self._judge, ids, teacher).sum(dim=0)
        hard = self.config.hard_weight
        return (1 - hard) * apart - hard * own if hard else apart, {"divergence": apart.item()}

    def _judge(self, logits: Tensor, targets: Tensor, ids: Tensor, teacher: Tensor) -> Tensor:
        """(n, 2): divergence, and log-probability of the row's own token, or 0 where that has no weight."""
        import torch

        from edgedistill.ml.losses import own_log_probs, top_kd_loss

        apart = top_kd_loss(logits, ids, teacher, self.config.divergence, self.config.jsd_beta)
        own = own_log_probs(logits, targets) if self.config.hard_weight else torch.zeros_like(apart)
        return torch.stack([apart, own], dim=1)
