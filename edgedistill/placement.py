"""Where the weights of a model go: one GPU, all of them, main memory; and whether they fit. Arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from edgedistill.errors import UsageError
from edgedistill.models import Loading, Shape

GIB = 1 << 30
_DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Per weight: 4 bits, a byte of scale for 64 of them, and 4 bytes for 256 scales (QLoRA, arXiv:2305.14314, sec. 3)."""
_KEPT_WHOLE = ("embed_tokens.weight", "wte.weight", "lm_head.weight")
"""What bitsandbytes leaves as it is, beside vectors: embedding and head."""
SPREAD_SHARE = 0.85
"""Of a GPU that spread weights may take: keys, values and what a pass computes need the rest."""
TRAINED_SHARE = 0.6
"""The same for weights that are trained, whose passes keep more."""
_MAIN_SHARE = 0.9

_LESS_IN_4BIT = "take a larger machine, several GPUs with `device_map: auto` in the model's section, or a smaller model"
_LESS = f"`load_in_4bit: true` in the model's section takes a third of bfloat16; or {_LESS_IN_4BIT}"
_LESS_TO_TRAIN = (
    "`align.adapter: qlora` takes least; `teacher.device_map: auto` with `align.processes: 1` spreads it over all GPUs"
)


@dataclass(frozen=True)
class Machine:
    """Free bytes."""

    gpus: tuple[int, ...]
    """Of each GPU."""
    main: int
    """Of main memory."""


@dataclass(frozen=True)
class Weights:
    """What is to be placed."""

    what: str
    """For messages: whose weights, and as what."""
    size: int
    """Bytes of all."""
    block: int
    """Bytes of the largest part that cannot be divided: a layer, or the embedding."""
    is_4bit: bool = False
    hint: str = ""
    """What takes less."""


def dtype_of(loading: Loading, has_gpu: bool) -> str:
    """Name of the weights' type where a model generates."""
    return loading.dtype or ("bfloat16" if has_gpu else "float32")


def weights_of(name: str, shape: Shape, dtype: str, is_4bit: bool) -> Weights:
    """The weights of a model of that shape, by the sizes of its tensors."""
    whole = _DTYPE_BYTES[dtype]
    sizes = {
        tensor: math.prod(size) * (NF4_BYTES if is_4bit and _becomes_4bit(tensor, size) else whole)
        for tensor, size in shape.tensors.items()
    }
    in_layers = sum(size for tensor, size in sizes.items() if not tensor.endswith(_KEPT_WHOLE))
    kind = f"{name or 'the model'} in {'4 bits' if is_4bit else dtype}"
    block = max([in_layers / max(1, shape.layers), *sizes.values()])
    return Weights(kind, round(sum(sizes.values())), round(block), is_4bit, _LESS_IN_4BIT if is_4bit else _LESS)


def trained(name: str, shape: Shape, adapter: str) -> Weights:
    """The same of a model that is trained on GPUs: `full` (16 bytes for each weight), `lora` or `qlora`.

    Adapters and their moments are left out: some 2% of bfloat16 weights at rank 16.
    """
    if adapter == "full":
        whole = weights_of(name, shape, "float32", is_4bit=False)
        made = Weights(f"training all of {name or 'the model'}", 4 * whole.size, 4 * whole.block)
    else:
        made = weights_of(name, shape, "bfloat16", is_4bit=adapter == "qlora")
    return replace(made, hint=_LESS_TO_TRAIN)


def _becomes_4bit(tensor: str, size: tuple[int, ...]) -> bool:
    return len(size) == 2 and not tensor.endswith(_KEPT_WHOLE)


def on_one(weights: Weights, machine: Machine, gpu: int = 0) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained`: all on that GPU, or on the CPU where there is none.

    Raises   UsageError with the GiB that are needed and those that are free.
    """
    free = machine.gpus[gpu] if machine.gpus else machine.main
    if weights.size <= free:
        return {"device_map": {"": f"cuda:{gpu}" if machine.gpus else "cpu"}}
    where = f"GPU {gpu} has" if machine.gpus else "the main memory has"
    raise UsageError(f"{weights.what} takes {gib(weights.size)}; {where} {gib(free)} free", weights.hint)


def spread(
    weights: Weights, machine: Machine, *, share: float = SPREAD_SHARE, may_offload: bool = True
) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained`: layers over all GPUs, and over the main memory what is left.

    share        of each GPU that weights may take
    may_offload  False: over GPUs alone, as weights that are trained or 4-bit must be
    Raises       UsageError with the GiB that are needed and those that are free.
    """
    if not machine.gpus:
        return on_one(weights, machine)
    room: dict[int | str, int] = {gpu: int(free * share) for gpu, free in enumerate(machine.gpus)}
    # The last of a GPU's room stays empty where the next layer is larger than it.
    usable = sum(max(0, int(free) - weights.block) for free in room.values())
    if weights.size <= max(usable, room[0]):
        return {"device_map": "auto", "max_memory": room}
    main = int(machine.main * _MAIN_SHARE)
    if may_offload and not weights.is_4bit and weights.size <= usable + main:
        return {"device_map": "auto", "max_memory": {**room, "cpu": main}}
    has = f"{len(machine.gpus)} GPUs have {gib(usable)}" if len(machine.gpus) > 1 else f"the GPU has {gib(usable)}"
    beside = f" and the main memory {gib(main)}" if may_offload and not weights.is_4bit else ""
    raise UsageError(f"{weights.what} takes {gib(weights.size)}; {has}{beside} free for weights", weights.hint)


def gib(size: float) -> str:
    """`131 GiB`, `2.4 GiB`, `5.1 MiB`"""
    if size < GIB / 10:
        return f"{size / (1 << 20):,.1f} MiB"
    return f"{size / GIB:,.0f} GiB" if size >= 10 * GIB else f"{size / GIB:,.1f} GiB"
