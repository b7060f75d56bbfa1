"""The teacher learns the student's preferences: DPO with a LoRA adapter, merged at the end.

Source  ARTE, arXiv:2406.19227v1, sec. 3.3 and 4.1: sigmoid loss against the original teacher, batch 16, 1 epoch, 10%
        warm-up, then cosine. Beta, adapter and optimizer are not given there. The reference is the teacher without its
        adapter, so it costs no second copy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedistill.artifacts import Preferences, Teacher
from edgedistill.errors import StageFailed
from edgedistill.files import write_json
from edgedistill.models import Model
from edgedistill.sections import AlignConfig
from edgedistill.store import stage

if TYPE_CHECKING:
    from edgedistill.ml.turns import Turn


@stage(version=1)
def align(out: Path, preferences: Preferences, teacher: Model, config: AlignConfig, seed: int) -> Teacher:
    """Raise the odds of the chosen answers over the rejected ones.

    Reads   Preferences: pairs with prompt, chosen, rejected; question and rationale level mixed
    Leaves  model/ (adapter merged), curve.jsonl with loss, reward_margin and reward_accuracy per step
    Raises  StageFailed when there are no pairs
    """
    from edgedistill.ml import training, weights

    pairs = [(pair.prompt, pair.chosen, pair.rejected) for pair in preferences.pairs()]
    if not pairs:
        raise StageFailed(
            "align: there are no preference pairs, so the teacher has nothing to learn",
            "lower `prefer.min_gap`, or raise `prefer.exam_size` or `elicit.questions`; without `align` in the recipe"
            " the original teacher writes the data",
        )
    with training.settled():
        tokenizer, chosen, rejected = _encode(pairs, teacher, config)
        counts = {"rows": len(chosen), "too_long": len(pairs) - len(chosen)}
        trainer, total = _trainer(out, teacher, tokenizer, chosen, rejected, config, seed)
        training.run(trainer, "align", out, total=total, checkpoint_steps=config.checkpoint_steps)
        aligned = trainer.model.merge_and_unload()
        weights.save(aligned, teacher, out / "model")
        del trainer, aligned
        weights.free()
    training.finish(out)
    made = Teacher(out)
    write_json(out / "counts.json", {**counts, "steps": total, "summary": _summary(counts, total, made)})
    return made


def _encode(
    pairs: list[tuple[str, str, str]], teacher: Model, config: AlignConfig
) -> tuple[Any, list[Turn], list[Turn]]:
    """Tokenizer, chosen and rejected turns of the pairs that are short enough; StageFailed when none is."""
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(teacher.path)
    ends = end_ids(teacher.path, tokenizer)
    chosen = turns(tokenizer, ends, [(prompt, better) for prompt, better, _ in pairs])
    rejected = turns(tokenizer, ends, [(prompt, worse) for prompt, _, worse in pairs])
    kept = [(a, b) for a, b in zip(chosen, rejected, strict=True) if max(len(a), len(b)) <= config.max_tokens]
    if not kept:
        raise StageFailed(
            f"align: all {len(pairs):,} pairs are longer than {config.max_tokens} tokens", "raise `align.max_tokens`"
        )
    return tokenizer, [a for a, _ in kept], [b for _, b in kept]


def _trainer(
    out: Path,
    teacher: Model,
    tokenizer: Any,
    chosen: list[Turn],
    rejected: list[Turn],
    config: AlignConfig,
    seed: int,
) -> tuple[Any, int]:
    """TRL's trainer on the pairs in their order, and its number of steps."""
    from trl import DPOConfig

    from edgedistill.ml import training, weights
    from edgedistill.ml.preference import TokenizedDPOTrainer, pair_rows

    lengths = [max(len(a), len(b)) for a, b in zip(chosen, rejected, strict=True)]
    plan = training.schedule(lengths, epochs=config.epochs, batch=config.batch, chunk=config.device_batch, seed=seed)
    given = DPOConfig(
        **training.arguments(out, plan, teacher, warmup=config.warmup, seed=seed),
        beta=config.beta,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
    )
    trainer = TokenizedDPOTrainer(
        model=weights.load(teacher, weights.frozen_dtype(), plan.longest),
        args=training.on_one_gpu(given),
        train_dataset=pair_rows(chosen, rejected).select(plan.arranged),
        processing_class=tokenizer,
        peft_config=weights.adapter(config.lora_rank),
    )
    return trainer, plan.steps


def _summary(counts: dict[str, int], total: int, made: Teacher) -> str:
    last = list(made.curve())[-1]
    left_out = f", {counts['too_long']:,} too long" if counts["too_long"] else ""
    return f"{counts['rows']:,} pairs{left_out}, {total:,} steps, reward margin {last['reward_margin']:.3f}"
