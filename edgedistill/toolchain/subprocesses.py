"""A step in a process of its own: what it prints, how long it may take, and what became of it.

llama.cpp aborts the whole process where it finds something odd in a file, prints to stderr past Python, and its
converter changes global state. None of that may touch a build that holds other results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedistill.errors import EdgeDistillError, StageFailed, UsageError

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""What a module that runs as such a process offers: request in, result out, both JSON."""

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GGML_NO_BACKTRACE": "1",  # llama.cpp would start a debugger to print one
}


def run(module: str, request: dict[str, Any], what: str, limit_s: float) -> dict[str, Any]:
    """Run a module's step in a new interpreter and return its result.

    Raises  the UsageError that the step raised; StageFailed with the last lines it printed when it crashed or took
            more than `limit_s` seconds
    """
    package_parent = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as scratch:
        answer = Path(scratch) / "answer.json"
        command = [sys.executable, "-P", "-m", module, json.dumps(request), str(answer)]
        environment = {**os.environ, **_SETTINGS, "PYTHONPATH": paths}
        # -P: a file in the user's folder that is called like a library is not imported in its place.
        with (Path(scratch) / "log").open("w+", encoding="utf-8", errors="replace") as log:
            try:
                code = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=limit_s).returncode
            except subprocess.TimeoutExpired:
                raise StageFailed(f"{what} took longer than {limit_s:,.0f} s and was stopped") from None
            if code or not answer.is_file():
                raise StageFailed(f"{what} failed (exit code {code}). Its last words:\n{_last_lines(log.name)}")
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "problem" in result:
        raise UsageError(result["problem"], result["hint"])
    return result


def main(step: Step) -> None:
    """What the new interpreter does: `python -m MODULE REQUEST ANSWER_FILE`."""
    end_with_parent()
    request, answer = sys.argv[1:]
    try:
        result = step(json.loads(request))
    except EdgeDistillError as error:
        result = {"problem": error.problem, "hint": error.hint}
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


def end_with_parent() -> None:
    """A build that is killed must not leave a converter behind that still writes."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _last_lines(log: str) -> str:
    lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(f"  {line[:300]}" for line in lines[-12:])
