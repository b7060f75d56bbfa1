"""Plain ONNX by Optimum, for an app that drives ONNX Runtime itself: the float graph with its KV cache, and copies of
it with 8-bit weights whose inputs are quantized as they come.

Optimum needs an older transformers than this tool, so it runs in an environment of its own (toolchain/optimum.py), on a
copy of the model whose settings are written as that version reads them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from edgedistill import onnx_file
from edgedistill.artifacts import Candidate
from edgedistill.errors import IntegrityError, StageFailed
from edgedistill.files import publish, read_json, size_of, write_json
from edgedistill.models import ALLOWED, Model, clean_copy
from edgedistill.sections import PackageConfig
from edgedistill.toolchain import optimum, optimum_export

VERSION = 1
"""Goes up with the pins in toolchain/optimum.py too."""
FORMAT = "onnx"

_INT8 = {"INT8": False, "INT8-per_channel": True}
"""Quant -> whether each output of a matrix has a scale of its own."""

_TABLE = 0.001
"""Share of the model's parameters."""


class Config(PackageConfig):
    """`package: {exporter: onnx_optimum, quants: [F32, INT8]}`"""

    exporter: str = "onnx_optimum"
    quants: Annotated[tuple[Literal["F32", "INT8", "INT8-per_channel"], ...], Field(min_length=1)] = (
        "F32",
        "INT8",
        "INT8-per_channel",
    )
    """F32, and weights in 8 bits with one scale for each matrix, or one for each of its outputs."""


def export(out: Path, student: Model, config: Config, rows: Sequence[tuple[str, str]] = ()) -> list[Candidate]:
    """One folder per quant, in the order of the config. A folder that an interrupted run finished is kept.

    rows    not looked at: nothing here is fitted to data
    Leaves  onnx-<quant>/: model.onnx, and the model's own settings and tokenizer files
    Raises  UsageError where the environment is missing, StageFailed where Optimum cannot export the model,
            IntegrityError where weights are lost
    """
    missing = [quant for quant in config.quants if not _folder(out, quant).is_dir()]
    scratch = out / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # of an interrupted run
    if missing:
        scratch.mkdir(parents=True)
        try:
            clean = clean_copy(student, scratch / "model")
            _build(clean, scratch, missing)
            for quant in missing:
                made = scratch / quant
                _dress(made, clean)
                _check(made, quant, onnx_file.matrix_parameters_of(clean))
                publish(made, _folder(out, quant))
        finally:
            shutil.rmtree(scratch)
    return [onnx_file.candidate(_folder(out, quant), FORMAT, quant) for quant in config.quants]


def _folder(out: Path, quant: str) -> Path:
    return out / f"{FORMAT}-{quant.lower()}"


def _build(clean: Path, scratch: Path, quants: Sequence[str]) -> None:
    """The graphs, in scratch/<quant>/. The float one is made in any case: the others are made of it."""
    python = optimum.python()
    int8 = [{"out": str(scratch / name), "per_channel": _INT8[name]} for name in quants if name in _INT8]
    request = {"model": str(_older(clean, scratch / "older")), "out": str(scratch / "F32"), "int8": int8}
    limit_s = 1200 + size_of(clean) / 5e5
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder:
        asked = write_json(Path(folder) / "request.json", request)
        # -I: neither this environment's packages nor a file in the user's folder come in.
        command = [str(python), "-I", str(optimum_export.__file__), str(asked)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise StageFailed(f"exporting with Optimum took longer than {limit_s:,.0f} s and was stopped") from None
    if done.returncode:
        said = "\n".join(f"  {line[:300]}" for line in done.stderr.strip().splitlines()[-6:])
        raise StageFailed(f"Optimum could not export the model (exit code {done.returncode})\n{said}")


def _older(clean: Path, folder: Path) -> Path:
    """The same model with settings that transformers 4.57 reads: it would take the default for what it does not know,
    and write another model."""
    shutil.copytree(clean, folder, symlinks=True)  # the weights are links, and stay such
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, **_rotation(config.get("rope_parameters") or {})})
    settings = read_json(folder / "tokenizer_config.json")
    if settings.get("tokenizer_class") == "TokenizersBackend":
        write_json(folder / "tokenizer_config.json", {**settings, "tokenizer_class": "PreTrainedTokenizerFast"})
    return folder


def _rotation(given: dict[str, Any]) -> dict[str, Any]:
    """`rope_parameters` of transformers 5, which may be one for each kind of layer, under the older names."""
    whole = given.get("full_attention", given)
    found = {"rope_theta": whole["rope_theta"]} if "rope_theta" in whole else {}
    if "sliding_attention" in given:
        found["rope_local_base_freq"] = given["sliding_attention"]["rope_theta"]
    if whole.get("rope_type", "default") != "default":
        found["rope_scaling"] = {name: value for name, value in whole.items() if name != "rope_theta"}
    return found


def _dress(made: Path, clean: Path) -> None:
    """The graph with the model's own files, byte for byte, in place of those that Optimum wrote."""
    for path in made.iterdir():
        if not path.name.startswith(onnx_file.GRAPH):
            path.unlink()
    for name in ALLOWED:
        if (clean / name).is_file() and not name.startswith("model."):
            shutil.copyfile(clean / name, made / name)


def _check(made: Path, quant: str, parameters: int) -> None:
    """Nothing lost, and 8-bit weights where they were asked for."""
    found = onnx_file.read(made)
    if found.matrix_parameters < parameters:
        raise IntegrityError(
            f"Optimum lost weights: matrices of {parameters:,} numbers became {found.matrix_parameters:,}"
        )
    allowed = "INT8" if quant in _INT8 else "F32"
    for name, weight in found.weights.items():
        # Small ones are tables that the exporter computed.
        is_large = weight.is_matrix and not weight.is_looked_up and weight.parameters > _TABLE * parameters
        if is_large and weight.type != allowed:
            raise IntegrityError(f"{quant}: {name} is {weight.type}, {allowed} was asked for")
