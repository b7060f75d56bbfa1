"""An ONNX folder with onnxruntime-genai, on this machine, in a process of its own: its memory is then the model's.

`python -m edgedistill.benchmark.genai` reads requests from stdin and writes answers to stdout: JSON, one a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgedistill import golden, latency
from edgedistill.benchmark import limits as rules
from edgedistill.benchmark.limits import Limits
from edgedistill.benchmark.served import Keep, Times
from edgedistill.engine import open_file
from edgedistill.errors import DeviceError, EdgeDistillError, UsageError
from edgedistill.golden import GoldenCase
from edgedistill.parity import CaseResult, Parity
from edgedistill.toolchain import subprocesses


@contextmanager
def serving(model: Path, format_name: str, *, context: int, threads: int | None) -> Iterator[GenaiServer]:
    """An ONNX model, loaded; its process is gone when the block ends. Raises DeviceError when it fails."""
    how = {"model": str(model.resolve()), "format": format_name, "context": context, "threads": threads}
    command = latency.command_of("edgedistill.benchmark.genai")
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            server = GenaiServer(process, log)
            server.open(how)
            yield server
        finally:
            process.kill()


class GenaiServer:
    """See `served.Served`."""

    def __init__(self, process: subprocess.Popen[str], log: Any) -> None:
        self._process, self._log = process, log
        self.pid: int | None = process.pid
        self.name = self.memory = ""

    def open(self, how: dict[str, Any]) -> None:
        found = self._call(how)
        self.name, self.memory = found["name"], latency.memory_of(found["python_mib"])

    def replay(
        self, cases: Sequence[GoldenCase], limits: Limits, known: Mapping[str, dict[str, Any]], keep: Keep
    ) -> Parity:
        """All cases at once: nothing here is cut, so nothing is kept."""
        found = self._call({"replay": [asdict(case) for case in cases], "limits": asdict(limits)})
        results = [CaseResult(**row) for row in found["rows"]]
        return Parity(results, answer_kl_mean=found["answer_kl_mean"])

    def ask(self, ids: Sequence[int], new_tokens: int) -> Times:
        return Times(**self._call({"ask": list(ids), "new_tokens": new_tokens}))

    def _call(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise self._fault()
        reply = json.loads(line)
        if "problem" in reply:
            raise UsageError(reply["problem"], reply["hint"])
        return reply

    def _fault(self) -> DeviceError:
        code = self._process.wait()
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip()[-500:]
        how = f"was killed by signal {-code}, most often for its memory" if code < 0 else f"ended with code {code}"
        return DeviceError(
            f"the process that runs the model {how}{f': {words}' if words else ''}",
            "what was measured is kept; free some memory and run the same command again",
        )


def main() -> None:
    """The process with the model. It ends with the benchmark that started it."""
    subprocesses.end_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    lines = sys.stdin
    how = json.loads(lines.readline())
    python_mib = latency.peak_mib()
    try:
        engine = open_file(Path(how["model"]), how["format"], context=how["context"], threads=how["threads"])
    except EdgeDistillError as error:
        _answer(answers, {"problem": error.problem, "hint": error.hint})
        return
    with engine:
        _answer(answers, {"name": _name(how["format"]), "python_mib": python_mib})
        for line in lines:
            request = json.loads(line)
            _answer(answers, _replayed(engine, request) if "replay" in request else _asked(engine, request))


def _answer(answers: Any, reply: dict[str, Any]) -> None:
    answers.write(json.dumps(reply) + "\n")
    answers.flush()


def _name(format_name: str) -> str:
    from importlib import metadata

    library = "onnxruntime-genai" if format_name == "onnx_genai" else "onnxruntime"
    return f"{library} {metadata.version(library)}"


def _replayed(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    found = rules.check(golden.from_rows(request["replay"]), engine, Limits(**request["limits"]))
    return {"rows": found.rows(), "answer_kl_mean": found.answer_kl_mean}


def _asked(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    """One prompt from its first token on, and its answer, greedy, past the end of it too."""
    sequences = engine.sequences(1, engine.context)
    begun = time.perf_counter()
    token = int(sequences.feed([(0, request["ask"])])[0].argmax())
    seen = time.perf_counter()
    for _ in range(request["new_tokens"] - 1):
        token = int(sequences.feed([(0, [token])])[0].argmax())
    ended = time.perf_counter()
    sequences.close()
    return asdict(Times(len(request["ask"]), 1000 * (seen - begun), request["new_tokens"], 1000 * (ended - seen)))


if __name__ == "__main__":
    main()
