"""GGUF for llama.cpp: 16-bit floats by its converter, smaller types by its quantizer, every tensor accounted for.

llama.cpp reports success where it wrote no tensors at all, and where it took other types than it was asked for. So the
tensors and parameters are counted at every hand-over, and the types are read back and compared with those foretold.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from edgedistill import gguf_file, models
from edgedistill.artifacts import Candidate
from edgedistill.errors import IntegrityError
from edgedistill.files import sha256_of
from edgedistill.gguf_file import GgufFile
from edgedistill.log import progress, say
from edgedistill.models import Model, Shape
from edgedistill.quantization import QUANTS, expected_types, fallbacks, type_counts
from edgedistill.sections import PackageConfig
from edgedistill.toolchain import subprocesses
from edgedistill.toolchain.llama_cpp import llama_cpp_sources

if TYPE_CHECKING:  # target.py reads every exporter's Config, so it comes after this file
    from edgedistill.target import Target

VERSION = 2  # v2: a Gemma keeps its own query scale and windows
"""Goes up with the pinned llama.cpp too (toolchain/llama_cpp.py)."""
FORMAT = "gguf"

_NAME = "student"
"""In the files' metadata. Not the folder's or recipe's name: the same weights must give the same bytes everywhere."""


class Config(PackageConfig):
    """`package: {exporter: gguf, quants: [Q8_0, Q4_K_M]}`"""

    quants: Annotated[tuple[str, ...], Field(min_length=1)] = ("F16", "Q8_0", "Q4_K_M", "Q4_0")
    """One candidate each, named as llama.cpp names them."""

    @field_validator("quants")
    @classmethod
    def _are_known(cls, quants: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [quant for quant in quants if quant not in QUANTS]
        if unknown:
            raise ValueError(f"no quantization named {', '.join(unknown)}; there are: {', '.join(QUANTS)}")
        if len(set(quants)) < len(quants):
            raise ValueError("a quantization is named twice")
        return quants


def export(out: Path, student: Model, target: Target, config: Config) -> list[Candidate]:
    """One file per quant, in the order of the config. A file that an interrupted run finished is kept.

    Leaves  model-<quant>.gguf
    Raises  UsageError for a model that cannot become GGUF, IntegrityError where a file is not what was foretold
    """
    missing = [quant for quant in config.quants if not _file(out, quant).is_file()]
    with _scratch(out) as scratch, progress("exporting", len(config.quants), len(config.quants) - len(missing)) as done:
        if missing:
            source = _file(out, "F16")
            if not source.is_file():
                source = _to_f16(student, scratch)
                if "F16" in missing:
                    source = _publish(source, _file(out, "F16"))
            for quant in missing:
                if quant != "F16":
                    _quantize(source, quant, _file(out, quant))
                done(1)
    return [_candidate(_file(out, quant), quant) for quant in config.quants]


def export_float(student: Model, file: Path) -> None:
    """The model as one file in 16-bit floats, with everything that `export` checks about it."""
    with _scratch(file.with_suffix("")) as scratch:
        _publish(_to_f16(student, scratch), file)
    file.with_suffix("").rmdir()


def _file(out: Path, quant: str) -> Path:
    return out / f"model-{quant.lower()}.gguf"


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder for intermediate files, empty at the start, gone at the end."""
    folder = out / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _to_f16(student: Model, scratch: Path) -> Path:
    sources = llama_cpp_sources()
    clean = clean_copy(student, scratch / "model")
    out = scratch / "model-f16.gguf"
    request = {"sources": str(sources), "model": str(clean), "out": str(out), "name": _NAME}
    done = subprocesses.run("edgedistill.toolchain.convert", request, "converting to GGUF", _limit_s(student.path))
    if done["warning"]:
        say(f"warning: {done['warning']}")
    head = gguf_file.read(out)
    _compare_weights(head, models.shape_of(clean), done["is_tied"])
    _compare_types(head, expected_types(head.shapes, "F16"), "F16")
    return out


def _compare_weights(head: GgufFile, shape: Shape, is_tied: bool | None) -> None:
    """Nothing lost, and the head that the float model has: its own, or the embedding where the config ties them."""
    tensors = {name: d for name, d in shape.tensors.items() if not (is_tied and name == "lm_head.weight")}
    parameters = sum(math.prod(dimensions) for dimensions in tensors.values())
    if not head.tensors or head.parameters != parameters + _added(head):
        raise IntegrityError(
            f"the converter lost weights: the model has {len(tensors)} tensors with {parameters:,} parameters, "
            f"the GGUF {len(head.tensors)} with {head.parameters:,}",
            "check that the folder holds all its *.safetensors files",
        )
    if is_tied is False and "output.weight" not in head.tensors:
        raise IntegrityError(
            "config.json says that the head is not tied to the embedding, but the model has no head of its own",
            "transformers would fill it with random numbers; set `tie_word_embeddings`, or save the model whole",
        )


def clean_copy(student: Model, folder: Path) -> Path:
    """Only the files that a converter needs, none that could run code; UsageError when the model is not safe."""
    folder.mkdir()
    for file in student.files():
        try:
            os.link(file.resolve(), folder / file.name)
        except OSError:  # another file system
            shutil.copyfile(file, folder / file.name)
    models.check(folder, "student")
    return folder


def _added(head: GgufFile) -> int:
    """Parameters that the converter computes and the float model holds no tensor of."""
    computed = ("rope_freqs", "rope_factors")
    return sum(tensor.parameters for name, tensor in head.tensors.items() if name.startswith(computed))


def _limit_s(path: Path) -> float:
    """A generous time limit: ten minutes, and a second per 2 MB."""
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.glob("*.safetensors")))
    return 600 + size / 2e6


def _quantize(source: Path, quant: str, out: Path) -> None:
    before = gguf_file.read(source)
    odd = fallbacks(before.shapes, quant)
    if odd:
        kinds = ", ".join(f"{count} to {kind}" for kind, count in sorted(Counter(odd.values()).items()))
        say(f"  {quant}: rows of {len(odd)} of {len(before.tensors)} tensors do not fit; llama.cpp takes {kinds}")
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    request = {"source": str(source), "out": str(beside), "quant": quant, "threads": os.cpu_count() or 1}
    try:
        subprocesses.run("edgedistill.toolchain.quantize", request, f"quantizing to {quant}", _limit_s(source))
        after = gguf_file.read(beside)
        if after.shapes != before.shapes or not after.tensors:
            raise IntegrityError(
                f"{quant}: the quantizer lost weights: {len(before.tensors)} tensors with {before.parameters:,} "
                f"parameters went in, {len(after.tensors)} with {after.parameters:,} came out"
            )
        _compare_types(after, expected_types(before.shapes, quant), quant)
        _publish(beside, out)
    finally:
        beside.unlink(missing_ok=True)


def _compare_types(head: GgufFile, expected: dict[str, str], quant: str) -> None:
    odd = [name for name, kind in head.types.items() if kind != expected[name]]
    if odd:
        shown = "\n".join(f"  {name}: {head.types[name]}, expected {expected[name]}" for name in odd[:10])
        more = f"\n  … and {len(odd) - 10} more" if len(odd) > 10 else ""
        raise IntegrityError(
            f"{quant}: {len(odd)} of {len(head.tensors)} tensors have another type than was foretold\n{shown}{more}",
            "edgedistill/quantization.py does not know this architecture's rule; export another quant, or report it",
        )


def _publish(file: Path, to: Path) -> Path:
    """Flush to the disk, then rename: under its own name a file is always whole."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
    return file.replace(to)


def _candidate(file: Path, quant: str) -> Candidate:
    head = gguf_file.read(file)
    return Candidate(
        format=FORMAT,
        quant=quant,
        file=file.name,
        bytes=file.stat().st_size,
        sha256=sha256_of(file),
        tensor_types=type_counts(head.types),
        bits_per_weight=round(8 * head.tensor_bytes / head.parameters, 4),
        parameters=head.parameters,
        read_bytes=head.read_bytes,
    )
