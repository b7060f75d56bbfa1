"""Optimum's ONNX exporter in an environment of its own: it needs an older transformers than this tool."""

from __future__ import annotations

from pathlib import Path

from edgedistill.errors import UsageError
from edgedistill.toolchain import environment
from edgedistill.toolchain.llama_cpp import is_complete

PINS = (
    "optimum-onnx==0.1.0",
    "optimum==2.1.0",
    "transformers==4.57.6",  # optimum-onnx 0.1.0 fails on transformers 5
    "torch==2.13.0",
    "onnx==1.23.2",
    "onnxruntime==1.31.1",
    "onnxscript==0.7.2",
)
"""With a change, raise VERSION in exporters/onnx_optimum.py: the files may change."""


def folder() -> Path:
    """Where the environment lies once it is made."""
    return environment.folder("optimum", PINS)


def python() -> Path:
    """The environment's interpreter. Raises UsageError where the environment was not made yet."""
    if not is_complete(folder()):
        raise UsageError(
            "exporter `onnx_optimum` needs an environment of its own, and it is not there yet",
            "`edgedistill toolchain install optimum` makes it, about 1 GB",
        )
    return environment.program(folder(), "python")


def install() -> Path:
    """Make the environment unless it is there. Raises EdgeDistillError when pip cannot fetch a package."""
    return environment.install("optimum", PINS, "optimum-onnx, torch, transformers and others, about 1 GB")
