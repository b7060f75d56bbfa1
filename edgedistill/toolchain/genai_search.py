"""Every combination of an integer ONNX export's options, built and measured: in a process of its own, which loads torch
and the builder once for all of them. One export is on the disk at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedistill import onnx_file, onnx_search
from edgedistill.files import size_of, write_rows
from edgedistill.onnx_search import Reference
from edgedistill.shards import shard_path
from edgedistill.toolchain import genai_builder, subprocesses


def search(request: dict[str, Any]) -> dict[str, Any]:
    """One shard per build, with one row per accuracy level, which share the weights. Finished shards are kept.

    request  model, scratch, shards: folders; format; levels; rows: (prompt, answer); builds: the fields of a row, and
             `precision` and `options` of the builder
    """
    folder, scratch = Path(request["shards"]), Path(request["scratch"])
    floats: Reference | None = None
    for number, asked in enumerate(request["builds"]):
        if shard_path(folder, number).is_file():
            continue
        if floats is None:
            exact = scratch / "exact"
            genai_builder.write(Path(request["model"]), exact, "fp32", {})
            floats = onnx_search.reference(exact, request["format"], request["rows"])
            shutil.rmtree(exact)
        write_rows(shard_path(folder, number), _rows(request, asked, scratch / "tried", floats))
    return {}


def _rows(request: dict[str, Any], asked: dict[str, Any], out: Path, floats: Reference) -> Iterator[dict[str, Any]]:
    genai_builder.write(Path(request["model"]), out, asked["precision"], asked["options"])
    found, size = onnx_file.read(out), size_of(out)
    named = {key: value for key, value in asked.items() if key not in ("precision", "options")}
    for level in request["levels"]:
        onnx_file.set_accuracy_level(out, level)
        yield {
            **named,
            "accuracy_level": level,
            "kl": round(onnx_search.divergence(out, request["format"], floats), 7),
            "bytes": size,
            "bits_per_weight": found.bits_per_weight,
        }
    shutil.rmtree(out)


if __name__ == "__main__":
    subprocesses.main(search)
