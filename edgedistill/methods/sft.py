"""Supervised fine-tuning on the tailored rows, loss on the answer only.

Source  ARTE, arXiv:2406.19227v1, sec. 4.1: 1 epoch, learning rate 2e-5, 3% warm-up, then linear decay. Batch size,
        length limit, loss masking and LoRA are not given there; ours are below.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from edgedistill.errors import StageFailed
from edgedistill.models import Model
from edgedistill.sections import DistillConfig, NotIdentity

if TYPE_CHECKING:
    from edgedistill.ml.turns import Turn

VERSION = 1


class Config(DistillConfig):
    """Options of `method: sft`."""

    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the tailored rows (ARTE: 1)."""
    learning_rate: Annotated[float, Field(gt=0)] = 2.0e-5
    """Highest learning rate (ARTE: 2e-5). Students of a few million parameters take up to 1e-3."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Rows per optimizer step."""
    device_batch: Annotated[int, Field(ge=1)] | None = None
    """Rows that go through the model at once. Lower it when memory runs out. None: the whole batch."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Share of the steps with rising learning rate, then linear decay (ARTE: 0.03)."""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of an adapter on all linear layers, merged at the end. None: all weights are trained."""
    max_tokens: Annotated[int, Field(ge=16)] = 1024
    """Rows longer than this, prompt included, are left out and counted: cut off, they would teach not to stop."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of a step's gradient."""
    checkpoint_steps: Annotated[int, Field(ge=1), NotIdentity] = 200
    """Steps between two checkpoints, from which a killed training goes on."""

    @property
    def chunk(self) -> int:
        return self.device_batch or self.batch

    @model_validator(mode="after")
    def _batch_is_made_of_device_batches(self) -> Self:
        if self.batch % self.chunk:
            raise ValueError(f"batch {self.batch} is not a multiple of device_batch {self.device_batch}")
        return self


def train(out: Path, rows: list[tuple[str, str]], student: Model, config: Config, seed: int) -> dict[str, int]:
    """Teach the student to answer each prompt (user message) with its completion.

    Leaves  model/ and curve.jsonl
    Returns rows trained on, rows left out as too long, steps
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
        training.run(trainer, "distill", out, total=steps, checkpoint_steps=config.checkpoint_steps)
        trained = trainer.model.merge_and_unload() if config.lora_rank else trainer.model
        weights.save(trained, student, out / "model")
        del trainer, trained
        weights.free()
    training.finish(out)
    return {"rows": len(kept), "too_long": len(rows) - len(kept), "steps": steps}


def _trainer(out: Path, student: Model, tokenizer: Any, rows: list[Turn], config: Config, seed: int) -> tuple[Any, int]:
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
