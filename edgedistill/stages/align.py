"""The teacher learns the student's preferences: DPO, with an adapter that is merged at the end, or of all weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgedistill.artifacts import Preferences, Teacher
from edgedistill.errors import StageFailed, UsageError
from edgedistill.files import write_json
from edgedistill.models import Model
from edgedistill.sections import AlignConfig
from edgedistill.store import stage
from edgedistill.toolchain import subprocesses


@stage(version=3)  # v3: pairs may ask for a lead, be softened, or be equal
def align(out: Path, preferences: Preferences, teacher: Model, config: AlignConfig, seed: int) -> Teacher:
    """Raise the odds of the chosen answers over the rejected ones, and draw equal ones together.

    Reads   Preferences: pairs with prompt, chosen, rejected; question and rationale level mixed. What `strength` and
            `label` of a pair ask of the loss: ml/pair_loss.py
    Leaves  model/ (adapter merged), curve.jsonl with loss, reward_margin, reward_accuracy and kl per step
    Raises  StageFailed when there are no pairs, or fewer than one batch
            UsageError when there are fewer GPUs than processes, or they hold too little for the weights
    """
    from edgedistill.ml import alignment, training

    if next(preferences.pairs(), None) is None:
        raise StageFailed(
            "align: there are no preference pairs, so the teacher has nothing to learn",
            f"{alignment.MORE_PAIRS}; without `align` in the recipe the original teacher writes the data",
        )
    if config.processes > 1:
        counts = _in_processes(out, preferences, teacher, config, seed)
    else:
        counts = alignment.train(out, preferences, teacher, config, seed)
    training.finish(out)
    made = Teacher(out)
    write_json(out / "counts.json", {**counts, "summary": _summary(counts, made)})
    return made


def _in_processes(out: Path, preferences: Preferences, teacher: Model, config: AlignConfig, seed: int) -> Any:
    """The same training in several processes, one per GPU; without a GPU they share the cores."""
    import torch

    gpus = torch.cuda.device_count()
    if 0 < gpus < config.processes:
        raise UsageError(
            f"align.processes: {config.processes} processes want a GPU each, and there are {gpus}",
            f"set `align.processes` to {gpus} or less",
        )
    request = {
        "out": str(out.absolute()),
        "preferences": str(preferences.path.absolute()),
        "teacher": str(teacher.path.absolute()),
        "name": teacher.name,
        "config": config.model_dump(mode="json"),
        "seed": seed,
    }
    threads = torch.get_num_threads() if "OMP_NUM_THREADS" not in os.environ else None
    return subprocesses.run_together("edgedistill.ml.alignment", request, "align", config.processes, threads)


def _summary(counts: dict[str, int], made: Teacher) -> str:
    last = list(made.curve())[-1]
    left_out = f", {counts['too_long']:,} too long" if counts["too_long"] else ""
    learned = f"reward margin {last['reward_margin']:.3f}, KL {last['kl']:.4f}"
    return f"{counts['rows']:,} pairs{left_out}, {counts['steps']:,} steps, {learned}"
