"""GGUF for llama.cpp: 16-bit floats by its converter, smaller types by its quantizer, every tensor accounted for.

llama.cpp reports success where it wrote no tensors at all, and where it took other types than it was asked for. So the
tensors and parameters are counted at every hand-over, and the types are read back and compared with those foretold.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from edgedistill import gguf_file, mix_trial, models, quantized
from edgedistill.artifacts import Calibration, Candidate
from edgedistill.errors import IntegrityError
from edgedistill.files import publish, read_rows, sha256_of, write_rows
from edgedistill.gguf_file import GgufFile
from edgedistill.log import progress, say
from edgedistill.models import Model, Shape
from edgedistill.quantization import Dimensions, expected_types, type_counts
from edgedistill.quantized import Planned, compare_types
from edgedistill.quants import QuantEntry, entry
from edgedistill.sections import PackageConfig
from edgedistill.toolchain import subprocesses
from edgedistill.toolchain.llama_cpp import llama_cpp_sources

VERSION = 4  # v4: mixes are measured; a choice of the head that cannot be kept and a tokenizer that differs are refused
"""Goes up with the pinned llama.cpp too (toolchain/llama_cpp.py)."""
FORMAT = "gguf"

_NAME = "student"
"""In the files' metadata. Not the folder's or recipe's name: the same weights must give the same bytes everywhere."""


class Config(PackageConfig):
    """`package: {exporter: gguf, quants: [Q8_0, Q4_K_M, {bits: 4.2}]}`"""

    quants: Annotated[tuple[Annotated[QuantEntry, BeforeValidator(entry)], ...], Field(min_length=1)] = tuple(
        QuantEntry(quant=quant) for quant in ("F16", "Q8_0", "Q4_K_M", "Q4_0")
    )
    """One candidate each: a name of llama.cpp's, `{quant: Q4_K_M, head: Q8_0}`, `{fit: 42MiB}` or `{bits: 4.2}`."""

    @field_validator("quants")
    @classmethod
    def _names_differ(cls, quants: tuple[QuantEntry, ...]) -> tuple[QuantEntry, ...]:
        if len({quant.name for quant in quants}) < len(quants):
            raise ValueError("a quantization is named twice")
        return quants

    @property
    def needs_calibration(self) -> bool:
        return self.measures_tensors or any(quant.is_weighed for quant in self.quants)

    @property
    def measures_tensors(self) -> bool:
        return any(quant.is_mix for quant in self.quants)

    def problems(self, tensors: Mapping[str, Dimensions]) -> list[str]:
        return [f"{quant.name}: {problem}" for quant in self.quants for problem in quant.problems(tensors)]


_SOURCE = QuantEntry(quant="F16")
_MIXES = "mixes.jsonl"
_SHOWN = ("expected_kl", "kl", "positions", "uniform")
"""What of a mix's line stands in the report."""
_TRIED_ROWS = 100
"""Rows of the recipe, evenly spaced, on which the tokenizer is tried."""


def export(
    out: Path,
    student: Model,
    config: Config,
    rows: Sequence[tuple[str, str]] = (),
    calibration: Calibration | None = None,
) -> list[Candidate]:
    """One file per quant, in the order of the config. A file that an interrupted run finished is kept.

    rows         (prompt, answer) of the recipe, on which the tokenizer is tried; what is measured on such rows is in
                 `calibration`
    calibration  None: columns are not weighed, and types and mixes that need it are refused

    Leaves  model-<quant>.gguf; model-f16.gguf also where it is not listed, as a candidate that does not ship;
            mixes.jsonl: types, bits per weight and KL of each `fit` and `bits`, beside the better of llama.cpp's own
            mixtures of at most that size, both measured on rows that neither was fitted to
    Raises  UsageError for a model that cannot become GGUF, IntegrityError where a file is not what was foretold
    """
    noted = _noted(out)
    missing = [quant for quant in config.quants if not _is_made(_file(out, quant), quant, noted)]
    with _scratch(out) as scratch, progress("exporting", len(config.quants), len(config.quants) - len(missing)) as done:
        if missing or not _file(out, _SOURCE).is_file():
            source = _float_file(out, student, scratch, rows)
            plans = [quantized.plan(quant, source, calibration) for quant in missing if quant.quant != "F16"]
            for planned in plans:
                file, limit_s = _file(out, planned), _limit_s(source)
                if planned.fitted and calibration:
                    noted[planned.name] = mix_trial.make(source, planned, file, calibration, scratch, limit_s)
                    write_rows(out / _MIXES, noted.values())
                else:
                    quantized.make(source, planned, file, limit_s)
                done(1)
    made = [_candidate(_file(out, quant), quant, noted.get(quant.name)) for quant in config.quants]
    is_listed = any(quant.name == _SOURCE.name for quant in config.quants)
    return made if is_listed else [*made, replace(_candidate(_file(out, _SOURCE), _SOURCE), ships=False)]


def _noted(out: Path) -> dict[str, dict[str, Any]]:
    """The mixes that were made and measured, also by an interrupted run."""
    path = out / _MIXES
    return {line["name"]: line for line in read_rows(path)} if path.is_file() else {}


def _is_made(file: Path, quant: QuantEntry, noted: Mapping[str, Any]) -> bool:
    return file.is_file() and (quant.name in noted or not quant.is_mix)


def _float_file(out: Path, student: Model, scratch: Path, rows: Sequence[tuple[str, str]]) -> Path:
    """In 16-bit floats, what all others are made of. It stays: `validate` holds it against the student in any case."""
    file = _file(out, _SOURCE)
    return file if file.is_file() else publish(_to_f16(student, scratch, rows), file)


def export_float(student: Model, file: Path) -> None:
    """The model as one file in 16-bit floats, with everything that `export` checks about it."""
    with _scratch(file.with_suffix("")) as scratch:
        publish(_to_f16(student, scratch), file)
    file.with_suffix("").rmdir()


def _file(out: Path, quant: QuantEntry | Planned) -> Path:
    return out / f"model-{quant.name.lower()}.gguf"


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


def _to_f16(student: Model, scratch: Path, rows: Sequence[tuple[str, str]] = ()) -> Path:
    sources = llama_cpp_sources()
    clean = models.clean_copy(student, scratch / "model")
    out = scratch / "model-f16.gguf"
    spaced = rows[:: max(1, len(rows) // _TRIED_ROWS)][:_TRIED_ROWS]  # the first ones may all be of one task
    tried = [text for row in spaced for text in row]
    request = {"sources": str(sources), "model": str(clean), "out": str(out), "name": _NAME, "rows": tried}
    done = subprocesses.run("edgedistill.toolchain.convert", request, "converting to GGUF", _limit_s(student.path))
    if done["warning"]:
        say(f"warning: {done['warning']}")
    head, shape = gguf_file.read(out), models.shape_of(clean)
    shutil.rmtree(clean)  # its tokenizer would take room beside the candidates
    _compare_weights(head, shape, done["is_tied"])
    compare_types(head, expected_types(head.shapes, "F16"), "F16")
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


def _added(head: GgufFile) -> int:
    """Parameters that the converter computes and the float model holds no tensor of."""
    computed = ("rope_freqs", "rope_factors")
    return sum(tensor.parameters for name, tensor in head.tensors.items() if name.startswith(computed))


def _limit_s(path: Path) -> float:
    """A generous time limit: ten minutes, and a second per 2 MB."""
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.glob("*.safetensors")))
    return 600 + size / 2e6


def _candidate(file: Path, quant: QuantEntry, mixed: Mapping[str, Any] | None = None) -> Candidate:
    head = gguf_file.read(file)
    return Candidate(
        format=FORMAT,
        quant=quant.name,
        file=file.name,
        bytes=file.stat().st_size,
        sha256=sha256_of(file),
        tensor_types=type_counts(head.types),
        bits_per_weight=round(8 * head.tensor_bytes / head.parameters, 4),
        parameters=head.parameters,
        read_bytes=head.read_bytes,
        fitted={key: mixed[key] for key in _SHOWN} if mixed else None,
    )
