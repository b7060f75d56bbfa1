"""ONNX for onnxruntime-genai: the library's own model builder, with the options of its integer types searched.

A float candidate is one build. An integer one has a block size, an algorithm, an accuracy at which the runtime
computes, and a head that may have more bits: every combination is built and measured on rows of the training data
(onnx_search.py), and the best few become candidates. What was tried is in onnx_genai-search.jsonl.

Source  onnxruntime-genai 0.18.0, models/builder.py, `--extra_options`
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from edgedistill import onnx_file, onnx_search
from edgedistill.artifacts import Candidate
from edgedistill.engine import runtimes
from edgedistill.errors import IntegrityError
from edgedistill.files import publish, read_rows, size_of, write_rows
from edgedistill.models import Model, clean_copy
from edgedistill.onnx_file import OnnxFile
from edgedistill.sections import PackageConfig
from edgedistill.shards import shard_path
from edgedistill.toolchain import subprocesses

VERSION = 2  # v2: where all rows are too long, the search asks its own prompts
"""Goes up with the pinned onnxruntime-genai too, whose builder writes the files."""
FORMAT = "onnx_genai"

_PRECISIONS = {"F32": "fp32", "F16": "fp16", "INT8": "int8", "INT4": "int4"}
_SEARCHED = ("INT8", "INT4")
_ALGORITHMS = {
    "rtn": {"algo_config": "rtn"},
    "rtn_asymmetric": {"algo_config": "rtn", "is_symmetric": "false"},
    "k_quant": {"algo_config": "k_quant"},
}


class Config(PackageConfig):
    """`package: {exporter: onnx_genai, quants: [F32, INT4], block_size: [32, 128]}`"""

    exporter: str = "onnx_genai"
    quants: Annotated[tuple[Literal["F32", "F16", "INT8", "INT4"], ...], Field(min_length=1)] = ("F32", "INT8", "INT4")
    """F32 and F16: one candidate each. INT8 and INT4: the best of all combinations below. On a CPU F16 is F32
    with half the bytes and slower, since the runtime converts; where heads share keys it cannot run: parity fails."""
    block_size: Annotated[tuple[Literal[16, 32, 64, 128, 256], ...], Field(min_length=1)] = (32, 64, 128)
    """Numbers that share a scale."""
    algorithm: Annotated[tuple[Literal["rtn", "rtn_asymmetric", "k_quant"], ...], Field(min_length=1)] = (
        "rtn",
        "k_quant",
    )
    """How numbers are rounded: to the nearest step, symmetric or with a zero point, or with steps fitted to them."""
    accuracy_level: Annotated[tuple[Literal[0, 1, 2, 3, 4], ...], Field(min_length=1)] = (1, 4)
    """How the runtime computes: 1 in float32, 4 in 8-bit integers, which is faster and may change answers."""
    head: Annotated[tuple[Literal["same", "INT8"], ...], Field(min_length=1)] = ("same", "INT8")
    """Type of the output head in an INT4 export. A tied embedding has the head's type; in INT8 exports the builder
    leaves it in float beside the head."""
    keep: Annotated[int, Field(ge=1)] = 1
    """Candidates of each integer type and accuracy level."""
    search_rows: Annotated[int, Field(ge=1)] = 24
    """Rows of the training data that combinations are measured on."""

    def identity(self) -> dict[str, Any]:
        """The search measures in the runtime, so another version of it may choose otherwise."""
        is_searched = any(quant in _SEARCHED for quant in self.quants)
        return {**super().identity(), **({"runtime": runtimes((FORMAT,))} if is_searched else {})}


@dataclass(frozen=True)
class Variant:
    """What one build is asked for."""

    quant: str
    algorithm: str = ""
    block_size: int = 0
    accuracy_level: int = 0
    head: str = "same"

    @property
    def name(self) -> str:
        """F32, or INT4-k_quant-b32-a4, with `-h8` for a head of 8 bits."""
        if not self.algorithm:
            return self.quant
        head = "-h8" if self.head == "INT8" else ""
        return f"{self.quant}-{self.algorithm}-b{self.block_size}-a{self.accuracy_level}{head}"

    def options(self) -> dict[str, str]:
        """As the builder names them."""
        if not self.algorithm:
            return {}
        numbers = {"block_size": str(self.block_size), "accuracy_level": str(self.accuracy_level)}
        head = {"matmul_mixed_precision": "last_matmul:int8"} if self.head == "INT8" else {}
        return {**_ALGORITHMS[self.algorithm], **numbers, **head}


def export(out: Path, student: Model, config: Config, rows: Sequence[tuple[str, str]] = ()) -> list[Candidate]:
    """One folder per candidate, in the order of `config.quants`. A folder that an interrupted run finished is kept.

    Leaves  onnx_genai-<name>/; onnx_genai-search.jsonl: each combination with its kl, bytes, bits per weight, and
            whether it was kept
    Raises  UsageError for a model that the builder cannot export, IntegrityError where a file is not what was asked for
    """
    scratch = out / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # of an interrupted run
    scratch.mkdir(parents=True)
    try:
        clean = clean_copy(student, scratch / "model")
        variants = _variants(out, scratch, clean, config, rows)
        missing = [variant for variant in variants if not _folder(out, variant).is_dir()]
        try:
            _build(clean, missing, scratch)
        finally:  # what was finished before another one failed is kept
            _keep(out, [variant for variant in missing if (scratch / variant.name).is_dir()], scratch, clean)
    finally:
        shutil.rmtree(scratch)
    return [onnx_file.candidate(_folder(out, variant), FORMAT, variant.name) for variant in variants]


def _folder(out: Path, variant: Variant) -> Path:
    return out / f"{FORMAT}-{variant.name.lower()}"


def _variants(out: Path, scratch: Path, clean: Path, config: Config, rows: Sequence[tuple[str, str]]) -> list[Variant]:
    """What is to be built in the end, after the search."""
    path = out / f"{FORMAT}-search.jsonl"
    grid = list(_grid(config))
    if grid and not path.is_file():
        tried = _search(out / "search", scratch, clean, grid, config, rows)
        kept = onnx_search.best(tried, config.keep, lambda row: (row["quant"], row["accuracy_level"]))
        write_rows(path, [{**row, "kept": row in kept} for row in tried])
    shutil.rmtree(out / "search", ignore_errors=True)  # its shards are in the one file now
    found = [row for row in read_rows(path) if row["kept"]] if grid else []
    named = [Variant(**{key: row[key] for key in asdict(Variant(""))}) for row in found]
    floats = [Variant(quant) for quant in config.quants if quant not in _SEARCHED]
    return sorted([*floats, *named], key=lambda variant: config.quants.index(variant.quant))


def _search(
    folder: Path, scratch: Path, clean: Path, grid: list[Variant], config: Config, rows: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The figures of every combination, in one process that builds, measures and removes one after the other."""
    spaced = rows[:: max(1, len(rows) // config.search_rows)][: config.search_rows]
    request = {
        "model": str(clean),
        "scratch": str(scratch),
        "shards": str(folder),
        "format": FORMAT,
        "levels": config.accuracy_level,
        "rows": list(spaced),
        "builds": [{**asdict(variant), **_request(variant)} for variant in grid],
    }
    what = f"searching {len(grid)} ONNX exports"
    subprocesses.run("edgedistill.toolchain.genai_search", request, what, (1 + len(grid)) * _limit_s(clean))
    return [row for number in range(len(grid)) for row in read_rows(shard_path(folder, number))]


def _grid(config: Config) -> Iterator[Variant]:
    for quant in (quant for quant in config.quants if quant in _SEARCHED):
        heads = config.head if quant == "INT4" else ("same",)
        for algorithm, block_size, head in product(config.algorithm, config.block_size, heads):
            yield Variant(quant, algorithm, block_size, config.accuracy_level[0], head)


def _request(variant: Variant) -> dict[str, Any]:
    """What the builder is asked for."""
    return {"precision": _PRECISIONS[variant.quant], "options": variant.options()}


def _limit_s(clean: Path) -> float:
    """A generous time limit of one export: ten minutes, and a second per MB."""
    return 600 + size_of(clean) / 1e6


def _build(clean: Path, variants: Sequence[Variant], scratch: Path) -> None:
    """The exports in `scratch`, each under its name once it is whole."""
    if not variants:
        return
    builds = [{"out": str(scratch / variant.name), **_request(variant)} for variant in variants]
    what = f"exporting {', '.join(variant.name for variant in variants)} with onnxruntime-genai's builder"
    request = {"model": str(clean), "builds": builds}
    subprocesses.run("edgedistill.toolchain.genai_builder", request, what, len(builds) * _limit_s(clean))


def _keep(out: Path, variants: Sequence[Variant], scratch: Path, clean: Path) -> None:
    for variant in variants:
        _check(onnx_file.read(scratch / variant.name), variant, onnx_file.matrix_parameters_of(clean))
        publish(scratch / variant.name, _folder(out, variant))


def _check(found: OnnxFile, variant: Variant, parameters: int) -> None:
    """Nothing lost, and no weight in another type than was asked for."""
    if found.matrix_parameters < parameters:
        raise IntegrityError(
            f"the builder lost weights: matrices of {parameters:,} numbers became {found.matrix_parameters:,}",
            "check that the folder holds all its *.safetensors files",
        )
    allowed = {variant.quant, variant.head} if variant.algorithm else {variant.quant}
    for name, weight in found.weights.items():
        if weight.is_matrix and weight.type not in allowed and not (variant.algorithm and weight.is_looked_up):
            raise IntegrityError(f"{variant.name}: {name} is {weight.type}, another type than was asked for")
        asked = (variant.block_size, variant.accuracy_level)
        if weight.block_size and not weight.is_looked_up and (weight.block_size, weight.accuracy_level) != asked:
            raise IntegrityError(
                f"{variant.name}: {name} has blocks of {weight.block_size} at accuracy level {weight.accuracy_level}"
            )
