"""What every training has in common: quiet, repeatable, resumable, with its progress shown and its curve kept."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import torch
import transformers
from transformers import PrinterCallback, Trainer, TrainerCallback

from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.log import progress, say
from edgedistill.ml import checkpoints, memory, reading
from edgedistill.ml.disk import full_disk_is_an_os_error
from edgedistill.ml.order import order
from edgedistill.models import Model

_CURVE = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "kl": "kl",
    "teacher_entropy": "teacher_entropy",
    "agreement": "agreement",
    "divergence": "divergence",
    "sampled": "sampled",
}
"""Trainer's name -> ours. What depends on the clock, or restarts with the process, stays out."""


_LARGE = 1_000_000_000
"""Parameters from which activations are computed again in the backward pass: less memory, more time, same numbers."""


def mixes_precision() -> bool:
    """Whether matrix products are in bfloat16: where the hardware multiplies it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    # Without these instructions torch emulates bfloat16, which is slower than float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@dataclass(frozen=True)
class Schedule:
    """Which rows each step sees."""

    batch: int
    """Rows per optimizer step."""
    chunk: int
    """Rows that go through the model at once; `batch` is a multiple of it."""
    arranged: list[int]
    """Row numbers, epochs one behind the other."""
    longest: int
    """Tokens of the longest row."""

    @property
    def steps(self) -> int:
        """As the Trainer counts them."""
        return math.ceil(math.ceil(len(self.arranged) / self.chunk) / (self.batch // self.chunk))


def schedule(lengths: list[int], *, epochs: int, batch: int, chunk: int, seed: int) -> Schedule:
    """Arrange rows of these lengths, in tokens."""
    return Schedule(batch, chunk, order(lengths, epochs=epochs, chunk=chunk, seed=seed), max(lengths))


def arguments(
    out: Path, plan: Schedule, model: Model, *, warmup: float, seed: int, processes: int = 1
) -> dict[str, Any]:
    """Trainer arguments that SFT and DPO share. `warmup` is the share of steps with rising learning rate.

    Of `processes` that train together, each takes its part of every chunk.
    """
    return {
        "output_dir": str(out / "checkpoints"),
        "num_train_epochs": 1,  # the schedule holds them all
        "per_device_train_batch_size": plan.chunk // processes,
        "gradient_accumulation_steps": plan.batch // plan.chunk,
        "warmup_steps": math.ceil(warmup * plan.steps),
        "train_sampling_strategy": "sequential",
        "seed": seed % 2**32,
        "bf16": mixes_precision(),
        "use_cpu": not torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,  # between processes: every weight that learns is used
        "dataloader_pin_memory": torch.cuda.is_available(),
        "gradient_checkpointing": model.shape().parameters > _LARGE,
        "max_length": None,  # what is too long was left out
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # _Watch says when
        "disable_tqdm": True,
        "report_to": "none",
    }


def on_one_gpu(given: Any) -> Any:
    """Trainer arguments that use one GPU, where a process sees several: TRL refuses torch's DataParallel."""
    assert given.device  # asking for it counts the GPUs
    given._n_gpu = min(given._n_gpu, 1)
    return given


def run(trainer: Trainer, label: str, out: Path, *, total: int, checkpoint_steps: int) -> int:
    """Train from the newest checkpoint, or from the start; leaves curve.jsonl, returns the tokens that were read.

    Of processes that train together, the first one speaks and writes.

    Raises  StageFailed when the loss is no longer a number.
    """
    found = checkpoints.newest(out / "checkpoints")
    done = checkpoints.step_of(found) if found else 0
    is_first = trainer.is_world_process_zero()
    if found and is_first:
        say(f"  {label}: goes on from step {done:,} of {total:,}")
    trainer.remove_callback(PrinterCallback)  # prints a dict per step on stdout
    shown = progress(label, total, done) if is_first else nullcontext(lambda n: None)
    with shown as advance, full_disk_is_an_os_error(out), reading.counted(trainer):
        trainer.add_callback(_Watch(advance, label, checkpoint_steps))
        trainer.train(resume_from_checkpoint=str(found) if found else None)
    if is_first:
        write_rows(out / "curve.jsonl", curve(trainer.state.log_history))
    return int(trainer.state.num_input_tokens_seen)


def curve(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per step: step, loss and what else was logged of _CURVE."""
    logged = [row for row in history if "loss" in row]
    return [
        {"step": row["step"], **{ours: row[theirs] for theirs, ours in _CURVE.items() if theirs in row}}
        for row in logged
    ]


def finish(out: Path) -> None:
    """Remove what only a resume needs, once everything else is written."""
    checkpoints.discard(out / "checkpoints")


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Shows progress, saves checkpoints, stops on a loss that is not a number."""

    def __init__(self, advance: Callable[[int], None], label: str, checkpoint_steps: int) -> None:
        self.advance, self.label, self.checkpoint_steps = advance, label, checkpoint_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.advance(1)
        if state.global_step % self.checkpoint_steps == 0 and state.global_step < state.max_steps:
            control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **rest: Any) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise StageFailed(
                f"{self.label}: the loss is {logs['loss']} at step {state.global_step} of {state.max_steps}",
                "lower the learning rate of this section, and check the model's weights",
            )

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every process writes a file of its own
        if state.is_world_process_zero:
            checkpoints.mark(Path(args.output_dir) / f"checkpoint-{state.global_step}")


@contextmanager
def settled() -> Iterator[None]:
    """Within it the training libraries are silent and repeatable; afterwards they are as they were."""
    was = torch.are_deterministic_algorithms_enabled()
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        memory.keep_freed()
    with ExitStack() as undo, warnings.catch_warnings():
        undo.callback(torch.use_deterministic_algorithms, was)
        _silence(undo)
        yield


def _silence(undo: ExitStack) -> None:
    """No bars, log lines or reports of the libraries; `undo` gets the way back."""
    for library in ("torch", "transformers", "trl", "peft", "accelerate", "datasets"):
        # They warn about each other; nothing that a user could act on.
        warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
    if transformers.logging.is_progress_bar_enabled():
        undo.callback(transformers.logging.enable_progress_bar)
    transformers.logging.disable_progress_bar()
    if not datasets.are_progress_bars_disabled():
        undo.callback(datasets.enable_progress_bars)
    datasets.disable_progress_bars()
    for library in ("transformers", "trl", "accelerate", "bitsandbytes"):
        logger = logging.getLogger(library)
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
    # TRL reports each trainer to the hub. huggingface_hub reads the variable for that when it is imported, which was
    # long ago, so what it then set is set here.
    hub = huggingface_hub.constants
    undo.callback(setattr, hub, "HF_HUB_DISABLE_TELEMETRY", hub.HF_HUB_DISABLE_TELEMETRY)
    hub.HF_HUB_DISABLE_TELEMETRY = True
