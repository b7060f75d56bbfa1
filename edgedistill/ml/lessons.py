"""Training with a loss of our own: transformers' Trainer, fed with places in the schedule; a lesson knows the rest.

A lesson turns the items of one pass through the model into a summed loss. What it is averaged over is known before, so
that a step's loss is the same however its batch is cut into passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import get_peft_model
from torch import Tensor
from transformers import Trainer, TrainingArguments

from edgedistill import tutors as teaching
from edgedistill.learning import LearnConfig
from edgedistill.ml import training, weights
from edgedistill.ml.turns import Turn
from edgedistill.models import Model
from edgedistill.tutors import Tutor


@dataclass(frozen=True)
class Item:
    """One row, where the schedule has it."""

    place: int
    """Of the whole training, from 0: random numbers of the item start from it."""
    row: int
    tutor: int
    """Whose turn it is in this optimizer step."""


class Lesson(Protocol):
    """What a method teaches."""

    def count(self, items: Sequence[Item]) -> int:
        """What the loss is averaged over: rows, or tokens."""

    def loss(self, model: Any, items: Sequence[Item]) -> tuple[Tensor, dict[str, float]]:
        """The loss, summed over what `count` counts; and sums of what else goes into the curve, by name."""


def learn(
    out: Path,
    student: Model,
    lesson: Lesson,
    lengths: list[int],
    config: LearnConfig,
    seed: int,
    tutors: Sequence[Tutor] = (),
) -> dict[str, int]:
    """Teach the student; leaves model/ and curve.jsonl, returns `steps` and `tokens` that the student read.

    lengths  tokens of the longest sequence of each row: rows of like length go through the model together
    tutors   one of them has its turn in each optimizer step
    Raises   StageFailed when the loss is no longer a number
    """
    with training.settled():
        plan = training.schedule(lengths, epochs=config.epochs, batch=config.batch, chunk=config.chunk, seed=seed)
        trainer = _trainer(out, student, lesson, _items(plan, tutors, seed), plan, config, seed)
        tokens = training.run(trainer, "distill", out, total=plan.steps, checkpoint_steps=config.checkpoint_steps)
        trained = trainer.model.merge_and_unload() if config.lora_rank else trainer.model
        weights.save(trained, student, out / "model")
        del trainer, trained
        weights.free()
    training.finish(out)
    return {"steps": plan.steps, "tokens": tokens}


def _items(plan: training.Schedule, tutors: Sequence[Tutor], seed: int) -> list[Item]:
    turns = teaching.draw(tutors, plan.steps, seed) if tutors else [0] * plan.steps
    return [Item(place, row, turns[place // plan.batch]) for place, row in enumerate(plan.arranged)]


def _trainer(
    out: Path,
    student: Model,
    lesson: Lesson,
    items: list[Item],
    plan: training.Schedule,
    config: LearnConfig,
    seed: int,
) -> LessonTrainer:
    given = training.arguments(out, plan, student, warmup=config.warmup, seed=seed)
    del given["max_length"]  # TRL's
    model = weights.load(student, weights.frozen_dtype() if config.lora_rank else weights.LEARNING, plan.longest)
    if config.lora_rank:
        model = get_peft_model(model, weights.adapter(config.lora_rank))
        if given["gradient_checkpointing"]:
            model.enable_input_require_grads()  # else nothing that learns is seen from the inputs
    arguments = TrainingArguments(
        **given,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.decay,
        max_grad_norm=config.gradient_clip,
        remove_unused_columns=False,
    )
    return LessonTrainer(lesson, model=model, args=training.on_one_gpu(arguments), train_dataset=items)


class LessonTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer, whose loss is a lesson's."""

    def __init__(self, lesson: Lesson, **options: Any) -> None:
        self._lesson = lesson
        self._told: dict[str, float] = {}
        self._counted = 0
        super().__init__(data_collator=self._collated, **options)
        self.model_accepts_loss_kwargs = True  # the loss is averaged over the whole step already

    def _collated(self, items: list[Item]) -> dict[str, Any]:
        return {"items": items, "count": self._lesson.count(items)}

    def get_batch_samples(self, *given: Any) -> tuple[list[dict[str, Any]], int]:
        """The passes of one optimizer step, and what their loss is averaged over."""
        batches, _ = super().get_batch_samples(*given)
        return batches, max(1, sum(batch["count"] for batch in batches))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        total, told = self._lesson.loss(model, inputs["items"])
        for name, value in told.items():
            self._told[name] = self._told.get(name, 0.0) + value
        self._counted += inputs["count"]
        return total / num_items_in_batch

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._counted:
            logs |= {name: value / self._counted for name, value in self._told.items()}
            self._told, self._counted = {}, 0
        super().log(logs, start_time)


def split(values: Tensor, turns: Sequence[Turn]) -> Tensor:
    """One value per answer token, laid out by turn: (R, T) and zeros behind each answer's end."""
    found = torch.nn.utils.rnn.pad_sequence(
        list(values.split([len(turn.completion_ids) for turn in turns])), batch_first=True
    )
    return found


def answer_mask(turns: Sequence[Turn], device: torch.device) -> Tensor:
    """(R, T) bool: where `split` has a token."""
    sizes = torch.tensor([len(turn.completion_ids) for turn in turns], device=device)
    places = torch.arange(int(sizes.max()), device=device)
    mask: Tensor = places[None] < sizes[:, None]
    return mask
