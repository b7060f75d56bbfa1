"""An isolated environment: packages that must not lie beside this tool's own, at pinned versions.

It is made with the user's own pip, from the package index that pip is set up for:

    ~/.cache/edgedistill/<name>-<digest of the pins>/    whole when `complete` is there, which is written last
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgedistill.errors import EdgeDistillError
from edgedistill.files import write_text
from edgedistill.locks import held
from edgedistill.log import say
from edgedistill.toolchain.llama_cpp import cache_folder, is_complete

Pins = tuple[str, ...]
"""Requirements with exact versions."""

_LIMIT_S = 3600


def folder(name: str, pins: Pins) -> Path:
    """Where an environment lies once it is made. Other pins, or another Python, are another environment."""
    digest = hashlib.sha256("\n".join((sys.version.split()[0], *pins)).encode()).hexdigest()
    return cache_folder() / f"{name}-{digest[:8]}"


def program(environment: Path, name: str) -> Path:
    """A program of an environment, e.g. its interpreter."""
    return environment / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}")


def install(name: str, pins: Pins, what: str) -> Path:
    """Make an environment unless it is there. `what` tells the user what is fetched, and how much.

    Raises  EdgeDistillError when pip cannot fetch a package
    """
    made = folder(name, pins)
    made.parent.mkdir(parents=True, exist_ok=True)
    with held(made.with_name(f"{made.name}.lock"), "the same environment"):
        if not is_complete(made):
            say(f"making an environment in {made}: {what}")
            shutil.rmtree(made, ignore_errors=True)  # of a process that was killed before it was complete
            _make(made, pins)
            write_text(made / "complete", "\n".join(pins) + "\n")
    return made


def _make(made: Path, pins: Pins) -> None:
    import venv

    venv.create(made, with_pip=True)
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as scratch:
        listed = write_text(Path(scratch) / "pins.txt", "\n".join(pins) + "\n")
        command = [str(program(made, "python")), "-m", "pip", "install", "--no-input", "--requirement", str(listed)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise EdgeDistillError(f"pip did not install {pins[0]} within {_LIMIT_S} s") from None
    if done.returncode:
        said = "\n".join(f"  {line}" for line in (done.stderr or done.stdout).strip().splitlines()[-5:])
        raise EdgeDistillError(
            f"pip could not install {', '.join(pins)}\n{said}",
            "check the network and `python -m pip config list`",
        )
