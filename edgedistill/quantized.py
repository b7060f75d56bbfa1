"""A float GGUF file in smaller types: what each tensor is to become, made by llama.cpp, and read back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import gguf_file, imatrix_file, mix
from edgedistill.artifacts import Calibration
from edgedistill.errors import IntegrityError, UsageError
from edgedistill.files import publish
from edgedistill.gguf_file import GgufFile
from edgedistill.log import say
from edgedistill.quantization import (
    FLOAT,
    QUANTS,
    Dimensions,
    bits_per_weight,
    expected_types,
    fallbacks,
    is_quantized,
    needs_importance,
)
from edgedistill.quants import QuantEntry
from edgedistill.toolchain import subprocesses

_METADATA_BYTES = 512
"""More than a quantized file's metadata grows by: type, version, and where the importance matrix came from."""
_HINT = "add a task with tailored rows, or `calibrate.file` with text, or list other quants"


@dataclass(frozen=True)
class Planned:
    """One file, before it is made."""

    name: str
    quant: str
    """The file type that llama.cpp is asked for."""
    types: dict[str, str]
    """Expected, of every tensor."""
    set_types: dict[str, str]
    """Those among them that are not left to llama.cpp."""
    imatrix: Path | None
    most_bytes: int | None = None
    """Of the file, where the recipe limits it."""
    fitted: dict[str, Any] | None = None
    """Of a mix: types, bits per weight and expected KL."""
    rivals: tuple[Planned, ...] = ()
    """Of a mix: llama.cpp's own mixtures that take no more room, which it is measured against."""


def plan(entry: QuantEntry, source: Path, calibration: Calibration | None) -> Planned:
    """Raises  UsageError where a quant needs a calibration that is not there, a type that the rows do not suit, or a
    size that cannot be kept
    """
    head = gguf_file.read(source)
    if problems := entry.problems(head.shapes):
        raise UsageError(f"{entry.name}: {problems[0]}", "change it in the recipe's `package.quants`")
    imatrix = calibration.imatrix if calibration and entry.is_weighed else None
    if entry.is_mix:
        return _mixed(entry, source, head, calibration, imatrix)
    assert entry.quant
    types = entry.types(head.shapes, has_importance=imatrix is not None)
    _check_importance(entry.name, needs_importance(types, entry.quant), imatrix)
    return Planned(entry.name, entry.quant, types, entry.chosen(head.shapes), imatrix)


def _check_importance(name: str, needed: Sequence[str], imatrix: Path | None) -> None:
    known = imatrix_file.read(imatrix) if imatrix and needed else {}
    if missing := [tensor for tensor in needed if tensor not in known]:
        what = "there is none" if imatrix is None else f"this one has nothing for {len(missing)} tensors ({missing[0]})"
        raise UsageError(f"{name} needs an importance matrix for its low types, and {what}", _HINT)


def _mixed(
    entry: QuantEntry, source: Path, head: GgufFile, calibration: Calibration | None, imatrix: Path | None
) -> Planned:
    measured = calibration.sensitivity() if calibration else []
    matrices = {name for name, dimensions in head.shapes.items() if is_quantized(name, dimensions)}
    if unknown := sorted(matrices ^ {line["tensor"] for line in measured}):
        raise UsageError(f"{entry.name}: {len(unknown)} tensors were not measured, {unknown[0]} among them", _HINT)
    kept = {name: head.types[name] for name in head.shapes if name not in matrices}
    room = _room(entry, source, head, kept)
    chosen = mix.choose(measured, room, entry.chosen(head.shapes), entry.name)
    types = {name: kept.get(name) or chosen[name] for name in head.shapes}
    fitted = {
        "name": entry.name,
        "types": types,
        "bits_per_weight": round(bits_per_weight(head.shapes, types), 4),
        "expected_kl": mix.cost(measured, types),
    }
    rivals = _rivals(head.shapes, measured, matrices, room, imatrix)
    # Every matrix is set by name, so the file type is a mere label: that of the type which most of them have.
    usual = Counter(chosen.values()).most_common(1)[0][0]
    label = next((quant for quant, kind in QUANTS.items() if kind.default == usual and usual != "F16"), "Q8_0")
    return Planned(entry.name, label, types, chosen, imatrix, entry.most_bytes, fitted, rivals)


def _room(entry: QuantEntry, source: Path, head: GgufFile, kept: Mapping[str, str]) -> int:
    """Bytes that the matrices may take."""
    fixed = sum(mix.stored_bytes(head.shapes[name], kind) for name, kind in kept.items())
    if entry.bits is not None:
        return int(entry.bits * head.parameters / 8) - fixed
    stored = sum(mix.stored_bytes(tensor.dimensions, tensor.type) for tensor in head.tensors.values())
    around = source.stat().st_size - stored + _METADATA_BYTES
    assert entry.most_bytes
    return entry.most_bytes - around - fixed


def _rivals(
    shapes: Mapping[str, Dimensions],
    measured: Sequence[mix.Measured],
    matrices: set[str],
    room: int,
    imatrix: Path | None,
) -> tuple[Planned, ...]:
    """Of llama.cpp's own mixtures that take no more room: the largest one, and the one of which the measured costs
    promise most, where they are known for all of its types. None where all are larger."""
    known = set(imatrix_file.read(imatrix)) if imatrix else set()
    found: dict[str, tuple[int, float | None]] = {}
    plans: dict[str, Planned] = {}
    for quant in (name for name, kind in QUANTS.items() if kind.default not in FLOAT):
        types = expected_types(shapes, quant, has_importance=imatrix is not None)
        size = sum(mix.stored_bytes(shapes[name], types[name]) for name in matrices)
        if size <= room and known.issuperset(needs_importance(types, quant)):
            found[quant] = size, mix.cost(measured, types)
            plans[quant] = Planned(quant, quant, types, {}, imatrix)
    largest = max(found, key=lambda quant: found[quant][0], default=None)
    priced = {quant: kl for quant, (_, kl) in found.items() if kl is not None}
    promising = min(priced, key=lambda quant: priced[quant], default=None)
    return tuple(plans[quant] for quant in dict.fromkeys((largest, promising)) if quant)


def make(source: Path, planned: Planned, out: Path, limit_s: float) -> None:
    """Quantize, compare the result with the plan tensor by tensor, and only then give it its name."""
    before = gguf_file.read(source)
    _tell(planned, before)
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    request = {
        "source": str(source),
        "out": str(beside),
        "quant": planned.quant,
        "threads": os.cpu_count() or 1,
        "types": planned.set_types,
        "imatrix": str(planned.imatrix) if planned.imatrix else None,
    }
    try:
        subprocesses.run("edgedistill.toolchain.quantize", request, f"quantizing to {planned.name}", limit_s)
        after = gguf_file.read(beside)
        if after.shapes != before.shapes or not after.tensors:
            raise IntegrityError(
                f"{planned.name}: the quantizer lost weights: {len(before.tensors)} tensors with {before.parameters:,} "
                f"parameters went in, {len(after.tensors)} with {after.parameters:,} came out"
            )
        compare_types(after, planned.types, planned.name)
        _check_size(beside, planned)
        publish(beside, out)
    finally:
        beside.unlink(missing_ok=True)


def _check_size(file: Path, planned: Planned) -> None:
    size = file.stat().st_size
    if planned.most_bytes is not None and size > planned.most_bytes:
        raise IntegrityError(
            f"{planned.name}: the file has {size:,} bytes, and may have {planned.most_bytes:,}",
            "its metadata takes more than was reckoned with: ask for a little less, and report it",
        )


def compare_types(head: GgufFile, expected: Mapping[str, str], name: str) -> None:
    """Raises IntegrityError that names the tensors whose type is another than was foretold."""
    odd = [tensor for tensor, kind in head.types.items() if kind != expected[tensor]]
    if odd:
        shown = "\n".join(f"  {tensor}: {head.types[tensor]}, expected {expected[tensor]}" for tensor in odd[:10])
        more = f"\n  … and {len(odd) - 10} more" if len(odd) > 10 else ""
        raise IntegrityError(
            f"{name}: {len(odd)} of {len(head.tensors)} tensors have another type than was foretold\n{shown}{more}",
            "edgedistill/mixtures.py does not know this architecture's rule; export another quant, or report it",
        )


def _tell(planned: Planned, before: GgufFile) -> None:
    """What a user should know of a file that is not all what its name says."""
    if planned.fitted:
        return  # told once it is measured
    odd = fallbacks(before.shapes, planned.quant, has_importance=planned.imatrix is not None)
    if odd:
        kinds = ", ".join(f"{count} to {kind}" for kind, count in sorted(Counter(odd.values()).items()))
        say(
            f"  {planned.name}: rows of {len(odd)} of {len(before.tensors)} tensors do not fit; llama.cpp takes {kinds}"
        )
    if planned.imatrix:
        known = imatrix_file.read(planned.imatrix)
        bare = [n for n, d in before.shapes.items() if n.startswith("blk.") and is_quantized(n, d) and n not in known]
        if bare:
            say(f"  {planned.name}: the importance matrix has nothing for {len(bare)} tensors, {bare[0]} among them")
