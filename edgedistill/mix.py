"""A type for each tensor so that a file fits a size and the answers change least: a knapsack over measured costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgedistill.errors import UsageError
from edgedistill.quantization import TYPES, Dimensions, is_quantized, tensor_bytes

Measured = Mapping[str, Any]
"""A line of sensitivity.jsonl: tensor, dimensions, measured (type), kl (nats with it), errors {type: error}."""

_ALIGNMENT = 32
"""Bytes that a tensor's data in a file is padded to."""

# The very low types of llama.cpp (IQ2, IQ3) are left out: they decode slowly on small processors.
_WIDE = ("Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16")
_NARROW = ("Q4_0", "IQ4_NL", "Q5_0", "Q5_1", "Q8_0", "F16")


def ladder(row: int) -> tuple[str, ...]:
    """The types that a matrix with rows of this many elements may get, lowest first."""
    return next((types for types in (_WIDE, _NARROW) if row % TYPES[types[0]].block == 0), ("F16",))


def costs(measured: Measured) -> dict[str, float]:
    """Type -> KL in nats that this tensor adds when it is stored so."""
    worst = measured["errors"][measured["measured"]]
    scale = measured["kl"] / worst if worst else 0.0
    return {kind: scale * error for kind, error in measured["errors"].items()}


def cost(measured: Sequence[Measured], types: Mapping[str, str]) -> float | None:
    """KL in nats that is expected of a file with these types; None where it holds one that was not looked at."""
    found = [costs(line).get(types[line["tensor"]]) for line in measured]
    return None if None in found else math.fsum(kl for kl in found if kl is not None)


def stored_bytes(dimensions: Dimensions, kind: str) -> int:
    """Of a tensor's data in a file, padding included."""
    return -(-tensor_bytes(dimensions, kind) // _ALIGNMENT) * _ALIGNMENT


def least_bytes(tensors: Mapping[str, Dimensions], chosen: Mapping[str, str]) -> int:
    """Data of a file in which every matrix has its lowest type, but for those that the recipe has `chosen`."""
    lowest = {name: ladder(d[-1])[0] if is_quantized(name, d) else "F32" for name, d in tensors.items()}
    return sum(stored_bytes(d, chosen.get(name, lowest[name])) for name, d in tensors.items())


def choose(measured: Sequence[Measured], room: int, chosen: Mapping[str, str], what: str) -> dict[str, str]:
    """Tensor -> type: the least sum of costs among all choices whose data takes at most `room` bytes.

    chosen  types that the recipe has set
    Raises  UsageError when even the lowest types take more
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    options = [
        (number, kind, kl, stored_bytes(tuple(line["dimensions"]), kind))
        for number, line in enumerate(measured)
        for kind, kl in costs(line).items()
        if chosen.get(line["tensor"], kind) == kind
    ]
    least = sum(min(size for n, _, _, size in options if n == number) for number in range(len(measured)))
    if least > room:
        raise UsageError(f"{what}: the weights take {least:,} bytes in their lowest types, and {room:,} are left")
    kls = np.array([kl for _, _, kl, _ in options])
    sizes = np.array([size for *_, size in options], float)
    belongs = np.array([[n == number for n, *_ in options] for number in range(len(measured))], float)
    found = milp(
        kls / (kls.max() or 1.0),
        constraints=[LinearConstraint(belongs, 1, 1), LinearConstraint(sizes[None] / max(room, 1), 0, 1)],
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-4},
    )
    assert found.x is not None, found.message
    picked = [option for option, taken in zip(options, found.x, strict=True) if taken > 0.5]
    return {measured[number]["tensor"]: kind for number, kind, _, _ in picked}
