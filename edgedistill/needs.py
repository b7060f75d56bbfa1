"""What memory the models of a recipe take, stage by stage, against an accelerator and against this machine.

Weights alone: keys, values and what a pass computes come on top. The arithmetic is that of placement.py, by which the
stages load their models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgedistill import placement
from edgedistill.accelerators import Accelerator
from edgedistill.errors import UsageError
from edgedistill.models import Loading, Shape
from edgedistill.placement import GIB, Machine, Weights
from edgedistill.recipe import Recipe
from edgedistill.sections import ModelConfig


@dataclass(frozen=True)
class Need:
    """One model in one stage, or in several that load it alike."""

    stage: str
    role: str
    """`teacher` or `student`"""
    how: str
    on_gpu: Weights
    on_cpu: Weights
    """The same where there is no GPU: float32 in place of bfloat16."""
    copies: int = 1
    """Processes that hold it, each on a GPU of its own."""
    share: float = 0.0
    """Of each GPU that it may take where it is spread over several; 0: it is not."""
    is_in_main: bool = False
    """In main memory, whatever GPUs there are."""


def of(recipe: Recipe, shape: dict[str, Shape | None]) -> list[Need]:
    """In the order of the stages; of models whose size is known and that no server runs."""
    found: list[Need] = []
    is_aligned = bool(recipe.prefer and recipe.align)
    teacher, student = shape.get("teacher"), shape.get("student")
    if teacher and recipe.teacher:
        found.append(_generates("elicit, tailor" if is_aligned else "tailor", "teacher", teacher, recipe.teacher))
    if student and is_aligned:
        found.append(_generates("prefer", "student", student, recipe.student))
    if teacher and is_aligned:
        found += _aligned(recipe, teacher)
    if student:
        adapters = {"lora" if getattr(method, "lora_rank", None) else "full" for method in recipe.distill}
        found += [_trained("distill", "student", student, adapter) for adapter in sorted(adapters)]
    return found


def _generates(stage: str, role: str, shape: Shape, config: ModelConfig) -> Need:
    how = Loading(config.device_map, config.load_in_4bit, config.dtype)
    on_gpu, on_cpu = (
        placement.weights_of(role, shape, placement.dtype_of(how, has_gpu), how.load_in_4bit)
        for has_gpu in (True, False)
    )
    told = "4 bits" if how.load_in_4bit else placement.dtype_of(how, has_gpu=True)
    if how.device_map:
        return Need(stage, role, f"{told}, over all GPUs", on_gpu, on_cpu, share=placement.SPREAD_SHARE)
    return Need(stage, role, told, on_gpu, on_cpu)


def _aligned(recipe: Recipe, shape: Shape) -> list[Need]:
    align = recipe.align
    assert align and recipe.teacher
    is_spread = bool(recipe.teacher.device_map) and align.processes == 1
    made = _trained(
        "align", "teacher", shape, align.adapter, align.processes, placement.TRAINED_SHARE if is_spread else 0.0
    )
    if align.adapter != "qlora":
        return [made]
    half, whole = (placement.weights_of("teacher", shape, dtype, is_4bit=False) for dtype in ("bfloat16", "float32"))
    return [made, Need("align", "teacher", "merged with its adapter, in main memory", half, whole, is_in_main=True)]


def _trained(stage: str, role: str, shape: Shape, adapter: str, copies: int = 1, share: float = 0.0) -> Need:
    kinds = {"full": "all weights learn", "lora": "bfloat16 and an adapter", "qlora": "4 bits and an adapter"}
    where = f", in each of {copies} processes" if copies > 1 else ", over all GPUs" if share else ""
    on_gpu = placement.trained(role, shape, adapter)
    on_cpu = on_gpu if adapter == "full" else placement.weights_of(role, shape, "float32", is_4bit=adapter == "qlora")
    return Need(stage, role, kinds[adapter] + where, on_gpu, on_cpu, copies, share)


def gpus(need: Need, on: Accelerator) -> int | None:
    """How many of these hold the weights; None where none or no number does."""
    each = on.memory_gib * GIB
    if need.is_in_main:
        return None
    if not need.share:
        return need.copies if need.on_gpu.size <= each else None
    room = each * need.share
    if need.on_gpu.size <= room:
        return 1
    return math.ceil(need.on_gpu.size / (room - need.on_gpu.block)) if room > need.on_gpu.block else None


def fits(need: Need, machine: Machine) -> bool:
    """Whether the stage would load it on this machine, with what is free there now."""
    weights = need.on_gpu if machine.gpus else need.on_cpu
    if need.is_in_main or not machine.gpus:
        return weights.size * need.copies <= machine.main
    if len(machine.gpus) < need.copies:
        return False
    try:
        if need.share:
            placement.spread(weights, machine, share=need.share, may_offload=need.share == placement.SPREAD_SHARE)
        else:
            placement.on_one(weights, machine)
    except UsageError:
        return False
    return True


def problem(need: Need, on: Accelerator) -> str | None:
    """Why such an accelerator cannot do it. None where it may."""
    if need.is_in_main or gpus(need, on) is not None:
        return None
    return (
        f"{need.stage}: the {need.role} takes {placement.gib(need.on_gpu.size)} ({need.how}), one {on.name} has"
        f" {on.memory_gib:,.0f} GiB; {need.on_gpu.hint}"
    )
