"""Supervised fine-tuning on the tailored rows, loss on the answer only.

Source  ARTE, arXiv:2406.19227v1, sec. 4.1: 1 epoch, learning rate 2e-5, 3% warm-up, then linear decay. Batch size,
        length limit, loss masking and LoRA are not given there; ours are below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedistill.errors import StageFailed
from edgedistill.learning import LearnConfig
from edgedistill.models import Model
from edgedistill.tutors import Tutor

if TYPE_CHECKING:
    from edgedistill.ml.turns import Turn

VERSION = 1


class Config(LearnConfig):
    """Options of `method: sft`."""


def train(
    out: Path,
    rows: list[tuple[str, str]],
    student: Model,
    config: LearnConfig,
    seed: int,
    tutors: Sequence[Tutor] = (),
) -> dict[str, Any]:
    """Teach the student to answer each prompt (user message) with its completion. Tutors are not asked.

    Leaves  model/ and curve.jsonl
    Returns rows trained on, rows left out as too long, steps, tokens that the student read
    Raises  StageFailed when no row is short enough, or the loss is no longer a number
    """
    from edgedistill.ml import training, weights
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    with training.settled():
        tokenizer = load_tokenizer(student.path)
        encoded = turns(tokenizer, end_ids(student.path, tokenizer), rows)
        kept = [turn for turn in encoded if len(turn) <= config.max_tokens]
        if not kept:
            raise StageFailed(
                f"distill: all {len(rows):,} rows are longer than {config.max_tokens} tokens",
                "raise `distill.max_tokens`",
            )
        trainer, steps = _trainer(out, student, tokenizer, kept, config, seed)
        tokens = training.run(trainer, "distill", out, total=steps, checkpoint_steps=config.checkpoint_steps)
        trained = trainer.model.merge_and_unload() if config.lora_rank else trainer.model
        weights.save(trained, student, out / "model")
        del trainer, trained
        weights.free()
    training.finish(out)
    return {"rows": len(kept), "too_long": len(rows) - len(kept), "steps": steps, "tokens": tokens}


def _trainer(
    out: Path, student: Model, tokenizer: Any, rows: list[Turn], config: LearnConfig, seed: int
) -> tuple[Any, int]:
    """TRL's trainer on the rows in their order, and its number of steps."""
    from trl import SFTConfig

    from edgedistill.ml import training, weights
    from edgedistill.ml.answers import AnswerTrainer, turn_rows

    lengths = [len(turn) for turn in rows]
    plan = training.schedule(lengths, epochs=config.epochs, batch=config.batch, chunk=config.chunk, seed=seed)
    given = SFTConfig(
        **training.arguments(out, plan, student, warmup=config.warmup, seed=seed),
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        max_grad_norm=config.gradient_clip,
        dataset_kwargs={"skip_prepare_dataset": True},  # turns() did it
    )
    trainer = AnswerTrainer(
        model=weights.load(student, weights.frozen_dtype() if config.lora_rank else weights.LEARNING, plan.longest),
        args=training.on_one_gpu(given),
        train_dataset=turn_rows(rows).select(plan.arranged),
        processing_class=tokenizer,
        peft_config=weights.adapter(config.lora_rank) if config.lora_rank else None,
    )
    return trainer, plan.steps
