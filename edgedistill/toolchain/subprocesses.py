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
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedistill.errors import EdgeDistillError, StageFailed, TimedOut, UsageError
from edgedistill.log import say

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""What a module that runs as such a process offers: request in, result out, both JSON."""

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GGML_NO_BACKTRACE": "1",  # llama.cpp would start a debugger to print one
}

_PARENT = "EDGEDISTILL_PARENT"
"""Environment variable: id of the process that started a step."""

_LAUNCHER = f"""
from {__name__} import end_with_parent
end_with_parent()
from accelerate.commands.launch import main
main()
"""
"""`accelerate launch` that ends with the process that started it, and the processes with it."""


def run(module: str, request: dict[str, Any], what: str, limit_s: float) -> dict[str, Any]:
    """Run a module's step in a new interpreter and return its result.

    Raises  the UsageError or StageFailed that the step raised; StageFailed with the last lines it printed when it
            crashed, TimedOut when it took more than `limit_s` seconds
    """
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as scratch:
        answer = Path(scratch) / "answer.json"
        command = [sys.executable, "-P", "-m", module, _asked(scratch, request), str(answer)]
        environment = {**os.environ, **_SETTINGS, _PARENT: str(os.getpid()), "PYTHONPATH": _paths()}
        # -P: a file in the user's folder that is called like a library is not imported in its place.
        with (Path(scratch) / "log").open("w+", encoding="utf-8", errors="replace") as log:
            try:
                code = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=limit_s).returncode
            except subprocess.TimeoutExpired:
                raise TimedOut(f"{what} took longer than {limit_s:,.0f} s and was stopped") from None
            if code or not answer.is_file():
                raise StageFailed(f"{what} failed (exit code {code}). Its last words:\n{_last_lines(log.name)}")
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return _result(result)


def run_together(
    module: str, request: dict[str, Any], what: str, processes: int, threads: int | None = None
) -> dict[str, Any]:
    """Run a module's step in several interpreters that train together (`accelerate launch`); the first one answers.

    Their progress lines, which begin with `what`, are passed on. `threads` of the CPU are shared among them; None: each
    has those that OMP_NUM_THREADS says.

    Raises  as run()
    """
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as scratch:
        answer = Path(scratch) / "answer.json"
        command = [sys.executable, "-P", "-c", _LAUNCHER, *_launch_options(processes, threads)]
        command += ["-m", module, _asked(scratch, request), str(answer)]
        environment = {**os.environ, **_SETTINGS, _PARENT: str(os.getpid())}
        environment |= {"PYTHONPATH": _paths(), "PYTHONSAFEPATH": "1"}
        with subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as launcher:
            try:
                said = _listen(launcher, what)
            finally:
                launcher.terminate()
        if launcher.returncode or not answer.is_file():
            words = "\n".join(f"  {line[:300]}" for line in said)
            raise StageFailed(f"{what} failed in {processes} processes. Last words:\n{words}")
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return _result(result)


def _asked(scratch: str, request: dict[str, Any]) -> str:
    """The request as a file: Linux allows an argument of a command no more than 128 KiB."""
    path = Path(scratch) / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    return str(path)


def _launch_options(processes: int, threads: int | None) -> list[str]:
    """All that `accelerate launch` would otherwise take from the user's own default file. GPUs where there are some."""
    options = {
        "num_processes": processes,
        "num_machines": 1,
        "gpu_ids": "all",
        "main_process_port": 0,  # any that is free
        "mixed_precision": "no",  # the trainer's arguments decide
        "dynamo_backend": "no",
    }
    if threads:
        options["num_cpu_threads_per_process"] = max(1, threads // processes)
    # Its launcher of several processes is called so also where they use the CPU.
    return ["--multi_gpu", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def _listen(launcher: subprocess.Popen[str], what: str) -> list[str]:
    """Pass progress lines on until the launcher ends; returns the last other lines of the processes."""
    assert launcher.stdout
    said: deque[str] = deque(maxlen=12)
    is_launcher = False
    for line in launcher.stdout:
        # What the launcher says of a process that failed comes after the process's own words, and hides them.
        is_launcher = is_launcher or "torch.distributed.elastic" in line or "torch/distributed/elastic" in line
        if line.startswith((f"  {what}  ", f"  {what}:")):
            say(line.rstrip())
        elif line.strip() and not is_launcher:
            said.append(line.rstrip())
    launcher.wait()
    return list(said)


def _paths() -> str:
    """Where a new interpreter finds this package, and what the user added."""
    package_parent = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))


def _result(result: dict[str, Any]) -> dict[str, Any]:
    if "problem" in result:
        error = StageFailed if result["is_stage_failed"] else UsageError
        raise error(result["problem"], result["hint"])
    return result


def main(step: Step) -> None:
    """What the new interpreter does: `python -m MODULE REQUEST_FILE ANSWER_FILE`. Of several, the first one answers."""
    end_with_parent()
    request, answer = sys.argv[1:]
    try:
        result = step(json.loads(Path(request).read_text(encoding="utf-8")))
    except EdgeDistillError as error:
        result = {"problem": error.problem, "hint": error.hint, "is_stage_failed": isinstance(error, StageFailed)}
    if os.environ.get("RANK", "0") == "0":
        Path(answer).write_text(json.dumps(result), encoding="utf-8")


def end_with_parent() -> None:
    """A build that is killed must not leave a converter behind that still writes."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    parent = os.environ.pop(_PARENT, "")  # not for the processes that this one starts
    if parent and os.getppid() != int(parent):
        raise SystemExit("the build that started this step has ended")  # before it could be told


def _last_lines(log: str) -> str:
    lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(f"  {line[:300]}" for line in lines[-12:])
