"""DPO on pairs of the teacher's and the student's answer: what the preference methods are compared with.

Chosen is the row's answer, which the teacher wrote; rejected is one that the student draws to the same prompt.

Source  DPO, arXiv:2305.18290v3, eq. 7, in TRL's trainer; the pairs are those of PAD's baselines (arXiv:2502.14272)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from edgedistill import responses
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.learning import LearnConfig
from edgedistill.models import Model
from edgedistill.sections import Asks
from edgedistill.tutors import Tutor

if TYPE_CHECKING:
    from edgedistill.ml.turns import Turn

VERSION = 2  # 2: an answer that was cut off has no end token


class Config(LearnConfig):
    """Options of `method: dpo`."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the pull towards the student as it came (TRL: 0.1)."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Answers that the student draws to each prompt; each one that is not the row's own makes a pair."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Of these answers."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The fewest likeliest tokens that together reach this are drawn from."""
    max_answer_tokens: Annotated[int, Field(ge=4)] = 256
    """Room for one answer."""
    learning_rate: Annotated[float, Field(gt=0)] = 5.0e-7
    """Highest learning rate (5e-7, usual for billions of parameters). A few million parameters take up to 1e-4."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps with rising learning rate, then a cosine."""
    decay: ClassVar[str] = "cosine"

    @property
    def sampling(self) -> responses.Sampling:
        return responses.Sampling(self.samples, self.temperature, self.top_p, self.max_answer_tokens)

    @property
    def asks(self) -> Asks:
        return Asks(sequences=2 * self.samples, student_answers=self.samples)


def train(
    out: Path,
    rows: list[tuple[str, str]],
    student: Model,
    config: Config,
    seed: int,
    tutors: Sequence[Tutor] = (),
) -> dict[str, Any]:
    """Raise the odds of the rows' answers over the student's own. Tutors are not asked.

    Leaves  model/, curve.jsonl with reward_margin, reward_accuracy and kl; pairs.jsonl: prompt, chosen, rejected
    Returns pairs trained on, pairs left out as too long, rows whose answer is the student's own already (alike), steps,
            tokens that the student read
    Raises  StageFailed when no pair is left, or the loss is no longer a number
    """
    drawn = responses.drawn(out, [prompt for prompt, _ in rows], student, config.sampling, seed)
    pairs = [
        (prompt, answer, text)
        for (prompt, answer), own in zip(rows, drawn, strict=True)
        for text in dict.fromkeys(own)
        if text.strip() and text.strip() != answer.strip()
    ]
    write_rows(out / "pairs.jsonl", [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in pairs])
    if not pairs:
        raise StageFailed(
            f"distill: the student says nothing but the rows' own answers to all {len(rows):,} prompts",
            "raise `distill.temperature` or `distill.samples`; else it has nothing to learn here",
        )
    from edgedistill.ml import training, weights

    with training.settled():
        tokenizer, chosen, rejected = _encoded(student, pairs, config)
        trainer, steps = _trainer(out, student, tokenizer, chosen, rejected, config, seed)
        tokens = training.run(trainer, "distill", out, total=steps, checkpoint_steps=config.checkpoint_steps)
        trained = trainer.model.merge_and_unload() if config.lora_rank else trainer.model
        weights.save(trained, student, out / "model")
        del trainer, trained
        weights.free()
    training.finish(out)
    alike = sum(
        all(text.strip() == answer.strip() for text in own) for (_, answer), own in zip(rows, drawn, strict=True)
    )
    return {"rows": len(chosen), "too_long": len(pairs) - len(chosen), "alike": alike, "steps": steps, "tokens": tokens}


def _encoded(student: Model, pairs: list[tuple[str, str, str]], config: Config) -> tuple[Any, list[Turn], list[Turn]]:
    """Tokenizer, chosen and rejected turns of the pairs that are short enough.

    A rejected answer that was cut off has no end token: unlearning that would be unlearning to stop.
    """
    from edgedistill.ml.turns import Turn, end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(student.path)
    ends = end_ids(student.path, tokenizer)
    chosen = turns(tokenizer, ends, [(prompt, text) for prompt, text, _ in pairs])
    drawn = tokenizer([text for _, _, text in pairs], add_special_tokens=False)["input_ids"]
    ended = turns(tokenizer, ends, [(prompt, text) for prompt, _, text in pairs])
    rejected = [
        turn if responses.came_to_an_end(len(ids), config.sampling) else Turn(turn.prompt_ids, ids)
        for turn, ids in zip(ended, drawn, strict=True)
    ]
    kept = [both for both in zip(chosen, rejected, strict=True) if max(map(len, both)) <= config.max_tokens]
    if not kept:
        raise StageFailed(
            f"distill: all {len(pairs):,} pairs are longer than {config.max_tokens} tokens",
            "raise `distill.max_tokens`",
        )
    return tokenizer, [a for a, _ in kept], [b for _, b in kept]


def _trainer(
    out: Path, student: Model, tokenizer: Any, chosen: list[Turn], rejected: list[Turn], config: Config, seed: int
) -> tuple[Any, int]:
    """TRL's trainer on the pairs in their order, and its number of steps."""
    from trl import DPOConfig

    from edgedistill.ml import training, weights
    from edgedistill.ml.preference import TokenizedDPOTrainer, pair_rows

    lengths = [max(map(len, both)) for both in zip(chosen, rejected, strict=True)]
    plan = training.schedule(lengths, epochs=config.epochs, batch=config.batch, chunk=config.chunk, seed=seed)
    given = DPOConfig(
        **training.arguments(out, plan, student, warmup=config.warmup, seed=seed),
        beta=config.beta,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.decay,
        max_grad_norm=config.gradient_clip,
        # The student before its training is the reference: without its adapter, or by what it said of the pairs.
        precompute_ref_log_probs=config.lora_rank is None,
    )
    trainer = TokenizedDPOTrainer(
        model=weights.load(student, weights.frozen_dtype() if config.lora_rank else weights.LEARNING, plan.longest),
        args=training.on_one_gpu(given),
        train_dataset=pair_rows(chosen, rejected).select(plan.arranged),
        processing_class=tokenizer,
        peft_config=weights.adapter(config.lora_rank) if config.lora_rank else None,
    )
    return trainer, plan.steps
