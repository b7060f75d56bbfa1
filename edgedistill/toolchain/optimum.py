"""Optimum's ONNX exporter in an environment of its own: it needs an older transformers than this tool.

The environment is made with the user's own pip, from the package index that pip is set up for, at pinned versions:

    ~/.cache/edgedistill/optimum-<digest of the pins>/    whole when `complete` is there, which is written last
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgedistill.errors import EdgeDistillError, UsageError
from edgedistill.files import write_text
from edgedistill.locks import held
from edgedistill.log import say
from edgedistill.toolchain.llama_cpp import cache_folder, is_complete

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

_LIMIT_S = 3600


def folder() -> Path:
    """Where the environment lies once it is made."""
    digest = hashlib.sha256("\n".join((sys.version.split()[0], *PINS)).encode()).hexdigest()
    return cache_folder() / f"optimum-{digest[:8]}"


def python() -> Path:
    """The environment's interpreter. Raises UsageError where the environment was not made yet."""
    if not is_complete(folder()):
        raise UsageError(
            "exporter `onnx_optimum` needs an environment of its own, and it is not there yet",
            "`edgedistill toolchain install optimum` makes it, about 1 GB",
        )
    return _python(folder())


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install() -> Path:
    """Make the environment unless it is there. Raises EdgeDistillError when pip cannot fetch a package."""
    made = folder()
    made.parent.mkdir(parents=True, exist_ok=True)
    with held(made.with_name(f"{made.name}.lock"), "the same environment"):
        if not is_complete(made):
            say(f"making an environment for optimum-onnx in {made}: torch, transformers and others, about 1 GB")
            shutil.rmtree(made, ignore_errors=True)  # of a process that was killed before it was complete
            _make(made)
            write_text(made / "complete", "\n".join(PINS) + "\n")
    return made


def _make(made: Path) -> None:
    import venv

    venv.create(made, with_pip=True)
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as scratch:
        pins = write_text(Path(scratch) / "pins.txt", "\n".join(PINS) + "\n")
        command = [str(_python(made)), "-m", "pip", "install", "--no-input", "--requirement", str(pins)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise EdgeDistillError(f"pip did not install {PINS[0]} within {_LIMIT_S} s") from None
    if done.returncode:
        said = "\n".join(f"  {line}" for line in (done.stderr or done.stdout).strip().splitlines()[-5:])
        raise EdgeDistillError(
            f"pip could not install {', '.join(PINS)}\n{said}",
            "check the network and `python -m pip config list`",
        )
