"""On-policy distillation: the student answers in training, and the teacher tells at each token what it would say.

    L = (1 - lambda) D(teacher, student) on the rows' answers + lambda D(teacher, student) on the student's own answers

averaged over the tokens of an answer and then over answers; no gradient through the drawing. Whether a pass through the
model takes rows or the student's answers is drawn with probability lambda. The teacher is asked through its engine, so
it may be a server that echoes log probabilities. It has to be of the student's vocabulary.

Source  GKD, arXiv:2306.13649v3, algorithm 1 and eq. 1; `sampled`: On-Policy Distillation, Thinking Machines Lab, 2025;
        several teachers, one per step: SKDBERT, arXiv:2211.14466
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edgedistill import vocabulary
from edgedistill.engine import Likeliest, user
from edgedistill.errors import StageFailed
from edgedistill.learning import TutoredConfig
from edgedistill.log import say
from edgedistill.methods import sft
from edgedistill.models import Model
from edgedistill.sections import Asks, NotIdentity
from edgedistill.shards import seed_of
from edgedistill.tutors import Staff, Tutor

if TYPE_CHECKING:
    from torch import Tensor

    from edgedistill.ml.lessons import Item
    from edgedistill.ml.turns import Turn

VERSION = 2  # 2: the 64 likeliest tokens in place of all


class Config(TutoredConfig):
    """Options of `method: on_policy`."""

    own_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Lambda: share of the passes whose answers are the student's own; the others learn on the rows' (GKD: 0 to 1)."""
    divergence: Literal["forward", "reverse", "jsd", "sampled"] = "reverse"
    """KL from teacher to student, the other way, or between them. `sampled`: the reverse one by the drawn tokens alone,
    for servers that tell the log probabilities of given tokens only; it needs own_share 1 and temperature 1."""
    jsd_beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """With `jsd`: weight of the teacher in the mixture; near 0 as forward, near 1 as reverse."""
    top_k: Annotated[int, Field(ge=1)] | None = 64
    """Likeliest tokens that the teacher tells at each place; all others are one bin. Servers often tell 20 at most.
    None: the whole vocabulary, which for large ones takes much memory, and which no server tells."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Of the student's answers (GKD: 1)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The fewest likeliest tokens that together reach this are drawn from."""
    max_answer_tokens: Annotated[int, Field(ge=4)] = 128
    """Room for one answer of the student; it learns from one that was cut off too."""
    vocabulary: Literal["equal", "padded", "text"] = "equal"
    """What teacher and student must share. `padded`: the tokenizer; embeddings may be padded to other sizes. `text`:
    with another tokenizer the student learns the rows' text, as `sft` does."""
    open_teachers: Annotated[Annotated[int, Field(ge=1)] | None, NotIdentity] = None
    """With several teachers: how many are in memory at once, beside the student. A closed one is loaded again when its
    turn comes, which takes time at nearly every step. None: all of them."""

    @property
    def asks(self) -> Asks:
        return Asks(student_answers=self.epochs, teacher_scores=self.epochs)

    @property
    def teachers_beside(self) -> int:
        there = len(self.teachers) + bool(self.own_weight)
        return min(there, self.open_teachers or there)

    @property
    def why_no_server(self) -> str | None:
        return "`top_k` is to be given" if self.top_k is None and self.divergence != "sampled" else None

    @model_validator(mode="after")
    def _sampled_is_on_policy(self) -> Self:
        if self.divergence == "sampled" and (self.own_share, self.temperature, self.top_p) != (1, 1, 1):
            raise ValueError("divergence `sampled` needs own_share, temperature and top_p of 1")
        return self


def train(
    out: Path, rows: list[tuple[str, str]], student: Model, config: Config, seed: int, tutors: Sequence[Tutor] = ()
) -> dict[str, Any]:
    """Draw the student's distributions towards its tutors', on its own answers and on the rows'.

    Leaves  model/, curve.jsonl with divergence (nats per token, mean over answers) and sampled (share of own answers)
    Returns rows trained on, rows left out as too long, steps, tokens that the student read
    Raises  StageFailed when no row is short enough, or the loss is no longer a number
    """
    assert tutors, "on_policy needs a tutor"
    if not all([vocabulary.learns_tokens(tutor.model, student, config.vocabulary) for tutor in tutors]):
        say("  distill: a teacher has another vocabulary; the student learns the rows' text")
        return {**sft.train(out, rows, student, config, seed), "note": "text only, another vocabulary"}
    from edgedistill.ml.lessons import learn
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(student.path)
    ends = end_ids(student.path, tokenizer)
    encoded = turns(tokenizer, ends, rows)
    sizes = [max(len(turn), len(turn.prompt_ids) + config.max_answer_tokens) for turn in encoded]
    kept = [row for row, size in enumerate(sizes) if size <= config.max_tokens]
    if not kept:
        raise StageFailed(
            f"distill: all {len(rows):,} rows are longer than {config.max_tokens} tokens, with room for an answer",
            "raise `distill.max_tokens`, or lower `distill.max_answer_tokens`",
        )
    with Staff([tutor.model for tutor in tutors], out, config.open_teachers) as staff:
        asked = [rows[row][0] for row in kept]
        shown = [_prompts(staff, number, asked) for number in range(len(tutors))]
        size = vocabulary.rows_of(student)
        lesson = Corrected([encoded[row] for row in kept], shown, staff, ends, size, config, seed)
        learned = learn(out, student, lesson, [sizes[row] for row in kept], config, seed, tutors)
    return {"rows": len(kept), "too_long": len(rows) - len(kept), **learned}


def _prompts(staff: Staff, number: int, prompts: list[str]) -> dict[int, list[int]]:
    """By row, in the tutor's own template; a server's is not known, so the student's stands for it: nothing."""
    if staff.models[number].server:
        return {}
    return {row: staff.engine(number).token_ids(user(text)) for row, text in enumerate(prompts)}


@dataclass(frozen=True)
class Corrected:
    """The lesson: at each token of an answer, be like the tutor would be there."""

    turns: list[Turn]
    shown: list[dict[int, list[int]]]
    """By tutor: each row's prompt as the tutor sees it; empty: as the student does."""
    staff: Staff
    ends: tuple[int, ...]
    size: int
    """Rows of the student's embedding."""
    config: Config
    seed: int

    def count(self, items: Sequence[Item]) -> int:
        return len(items)

    def loss(self, model: Any, items: Sequence[Item]) -> tuple[Tensor, dict[str, float]]:
        from edgedistill.ml.answer_logits import at_answers
        from edgedistill.ml.lessons import answer_mask, split
        from edgedistill.ml.losses import mean_log_probs

        is_own = self._is_own(items)
        turns = self._drawn(model, items) if is_own else [self.turns[item.row] for item in items]
        said = (tensor.to(model.device) for tensor in self._stacked(self._corrections(items, turns)))
        apart = at_answers(model, turns, self._apart, *said)
        # Of each answer the mean over its tokens, as for log-probabilities.
        total = mean_log_probs(split(apart, turns), answer_mask(turns, apart.device)).sum()
        return total, {"divergence": total.item(), "sampled": float(is_own) * len(items)}

    def _is_own(self, items: Sequence[Item]) -> bool:
        """Drawn for all items of a pass together, by their place: a resumed training draws the same."""
        return Random(seed_of(self.seed, "own", items[0].place)).random() < self.config.own_share

    def _drawn(self, model: Any, items: Sequence[Item]) -> list[Turn]:
        from edgedistill.ml import rollout
        from edgedistill.ml.turns import Turn

        prompts = [self.turns[item.row].prompt_ids for item in items]
        found = rollout.answers(
            model,
            prompts,
            self.ends,
            max_tokens=self.config.max_answer_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            seed=seed_of(self.seed, "answers", items[0].place),
        )
        return [Turn(prompt, answer) for prompt, answer in zip(prompts, found, strict=True)]

    def _corrections(self, items: Sequence[Item], turns: Sequence[Turn]) -> list[Likeliest]:
        """What the tutor of the step holds likeliest at each token."""
        import torch

        tutor = items[0].tutor
        shown = self.shown[tutor] or {item.row: turn.prompt_ids for item, turn in zip(items, turns, strict=True)}
        count = 1 if self.config.divergence == "sampled" else min(self.config.top_k or self.size, self.size)
        # The student's mixed precision is not the tutor's.
        with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", enabled=False):
            return self.staff.engine(tutor).likeliest(
                [shown[item.row] for item in items],
                [turn.completion_ids for turn in turns],
                count,
                vocabulary=self.size,
            )

    def _stacked(self, said: list[Likeliest]) -> tuple[Tensor, ...]:
        """Of all N tokens: the log-probabilities (N,) of the drawn ones; or (N, V) of the whole vocabulary; or the ids
        (N, K) and log-probabilities (N, K + 1) of the likeliest and the rest."""
        import numpy as np
        import torch

        from edgedistill.ml.losses import with_rest

        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(one, name) for one in said]))

        if self.config.divergence == "sampled":
            return (stacked("own"),)
        if said[0].ids.shape[1] == self.size:
            return (stacked("log_probs"),)
        return stacked("ids").long(), with_rest(stacked("log_probs"))

    def _apart(self, logits: Tensor, targets: Tensor, *said: Tensor) -> Tensor:
        """(n,) divergence at each token, in nats; `said` as `_stacked` returns it."""
        from edgedistill.ml.losses import own_log_probs, sampled_reverse_kl, top_kd_loss

        *ids, teacher = said
        if self.config.divergence == "sampled":
            return sampled_reverse_kl(own_log_probs(logits, targets), teacher)
        return top_kd_loss(logits, ids[0] if ids else None, teacher, self.config.divergence, self.config.jsd_beta)
