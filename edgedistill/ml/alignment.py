"""DPO of a teacher on preference pairs; what `align` runs, in its own process or in several that train together.

Source  ARTE, arXiv:2406.19227v1, sec. 3.3 and 4.1: sigmoid loss against the original teacher, batch 16, 1 epoch, 10%
        warm-up, then cosine. Beta, adapter and optimizer are not given there. The reference is the teacher without its
        adapter, or, when all weights learn, what it said of the pairs before: neither costs a second copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from trl import DPOConfig

from edgedistill import placement
from edgedistill.artifacts import Preferences
from edgedistill.errors import StageFailed, UsageError
from edgedistill.ml import loading, training, weights
from edgedistill.ml.pair_loss import Terms, terms_of
from edgedistill.ml.preference import TokenizedDPOTrainer, pair_rows
from edgedistill.ml.turns import Turn, end_ids, load_tokenizer, turns
from edgedistill.models import Model
from edgedistill.placement import Machine
from edgedistill.sections import AlignConfig
from edgedistill.toolchain import subprocesses

MORE_PAIRS = "lower `prefer.min_gap`, or raise `prefer.exam_size` or `elicit.questions`"


@dataclass(frozen=True)
class _Encoded:
    """The pairs that are short enough, as token ids."""

    tokenizer: Any
    chosen: list[Turn]
    rejected: list[Turn]
    terms: list[Terms] | None
    too_long: int


def train(out: Path, preferences: Preferences, teacher: Model, config: AlignConfig, seed: int) -> dict[str, int]:
    """Raise the odds of the chosen answers over the rejected ones, and draw equal ones together.

    Leaves  model/ and curve.jsonl; checkpoints/ until the caller removes it
    Returns rows trained on, rows left out as too long, steps
    Raises  StageFailed when fewer pairs than one batch are short enough, or the loss is no longer a number
    """
    with training.settled():
        encoded = _encode(preferences, teacher, config)
        trainer, steps = _trainer(out, teacher, encoded, config, seed)
        training.run(trainer, "align", out, total=steps, checkpoint_steps=config.checkpoint_steps)
        if trainer.is_world_process_zero():
            weights.save(_aligned(trainer.model, teacher, config), teacher, out / "model")
        del trainer
        weights.free()
    return {"rows": len(encoded.chosen), "too_long": encoded.too_long, "steps": steps}


def _encode(preferences: Preferences, teacher: Model, config: AlignConfig) -> _Encoded:
    """Chosen and rejected turns of the pairs that are short enough, and how many are not."""
    pairs = list(preferences.pairs())
    tokenizer = load_tokenizer(teacher.path)
    ends = end_ids(teacher.path, tokenizer)
    chosen = turns(tokenizer, ends, [(pair.prompt, pair.chosen) for pair in pairs])
    rejected = turns(tokenizer, ends, [(pair.prompt, pair.rejected) for pair in pairs])
    sides = zip(pairs, chosen, rejected, strict=True)
    kept = [(pair, a, b) for pair, a, b in sides if max(len(a), len(b)) <= config.max_tokens]
    if not kept:
        raise StageFailed(
            f"align: all {len(pairs):,} pairs are longer than {config.max_tokens} tokens", "raise `align.max_tokens`"
        )
    too_long = len(pairs) - len(kept)
    if len(kept) < config.batch:
        left_out = f" ({too_long:,} more are longer than {config.max_tokens} tokens)" if too_long else ""
        raise StageFailed(
            f"align: {len(kept):,} pairs{left_out} are fewer than one batch of {config.batch}",
            f"{_smaller(len(kept), config)}{'raise `align.max_tokens`, ' if too_long else ''}{MORE_PAIRS}",
        )
    terms = terms_of([pair for pair, _, _ in kept], config.margin_scale)
    return _Encoded(tokenizer, [a for _, a, _ in kept], [b for _, _, b in kept], terms, too_long)


def _smaller(pairs: int, config: AlignConfig) -> str:
    """The largest batch that can be filled, as a hint; more than one step of it is better still."""
    batch = pairs // config.chunk * config.chunk
    fewer = "" if batch else " with `align.device_batch` 1"
    batch = batch or pairs // config.processes * config.processes
    return f"set `align.batch` to {batch} or less{fewer}, " if batch else ""


def _trainer(out: Path, teacher: Model, encoded: _Encoded, config: AlignConfig, seed: int) -> tuple[Any, int]:
    """TRL's trainer on the pairs in their order, and its number of steps."""
    lengths = [max(len(a), len(b)) for a, b in zip(encoded.chosen, encoded.rejected, strict=True)]
    plan = training.schedule(lengths, epochs=config.epochs, batch=config.batch, chunk=config.chunk, seed=seed)
    given = training.on_one_gpu(
        DPOConfig(
            **training.arguments(out, plan, teacher, warmup=config.warmup, seed=seed, processes=config.processes),
            beta=config.beta,
            learning_rate=config.highest_rate,
            lr_scheduler_type="cosine",
            precompute_ref_log_probs=config.adapter == "full",
        )
    )
    trainer = TokenizedDPOTrainer(
        model=_learner(teacher, config, plan.longest, given.device),
        args=given,
        train_dataset=pair_rows(encoded.chosen, encoded.rejected, encoded.terms).select(plan.arranged),
        processing_class=encoded.tokenizer,
        tie_weight=config.tie_weight,
        peft_config=None if config.adapter == "full" else weights.adapter(config.lora_rank),
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL makes the adapter of a 4-bit model bfloat16
            parameter.data = parameter.data.to(weights.LEARNING)
    return trainer, plan.steps


def _learner(teacher: Model, config: AlignConfig, longest: int, device: torch.device) -> Any:
    """The teacher as it is trained: whole on one GPU, where each process has its own, or spread over all of them."""
    dtype = weights.LEARNING if config.adapter == "full" else weights.frozen_dtype()
    here = loading.machine()
    placed = places(teacher, config, here, device.index or 0) if here.gpus else None
    if config.adapter == "qlora":
        _room_for_merging(teacher, here)
        placed = placed or {"device_map": {"": device}}
    return weights.load(teacher, dtype, longest, is_4bit=config.adapter == "qlora", placed=placed)


def places(teacher: Model, config: AlignConfig, here: Machine, gpu: int) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` on a machine with GPUs, of which this process has one, or all where it is
    the only process and the recipe spreads the teacher. Raises UsageError when they hold too little."""
    trained = placement.trained(teacher.name or str(teacher.path), teacher.shape(), config.adapter)
    if teacher.loading.device_map and config.processes == 1:
        return placement.spread(trained, here, share=placement.TRAINED_SHARE, may_offload=False)
    return placement.on_one(trained, here, gpu)


def _room_for_merging(teacher: Model, here: Machine) -> None:
    """What the adapter learned beside 4-bit weights goes into whole ones, in main memory: better known before."""
    dtype = str(weights.frozen_dtype()).removeprefix("torch.")
    whole = placement.weights_of(teacher.name or str(teacher.path), teacher.shape(), dtype, is_4bit=False)
    if whole.size > here.main:
        raise UsageError(
            f"align: the adapter of {whole.what} is merged in main memory, which takes {placement.gib(whole.size)};"
            f" {placement.gib(here.main)} are free",
            "take a machine with more main memory, or a smaller teacher",
        )


def _aligned(trained: Any, teacher: Model, config: AlignConfig) -> Any:
    """The whole model. An adapter learned beside 4-bit weights goes into the full-precision ones."""
    if config.adapter == "full":
        return trained
    if config.adapter == "lora":
        return trained.merge_and_unload()
    return weights.merged(trained, teacher, config.lora_rank)


def _step(request: dict[str, Any]) -> dict[str, Any]:
    teacher = Model(Path(request["teacher"]), "", name=request["name"])
    config = AlignConfig.model_validate(request["config"])
    return train(Path(request["out"]), Preferences(Path(request["preferences"])), teacher, config, request["seed"])


if __name__ == "__main__":
    subprocesses.main(_step)
