"""A run on a real device, written down call by call, so that it can be played again without the device.

    with tape.record(transport.open_device("ssh://pi@rpi5.local"), Path("rpi5.tape")) as device: …
    with transport.open_device("replay://rpi5.tape") as device: …

A tape is JSON lines, `{"call": …, what it was given, what came back}`, in the order in which the calls ended. A fault
is written down with its class and words. Requests to a forwarded port are on it too (http_tape.py).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from edgedistill.devices import http_tape
from edgedistill.devices.facts import Facts
from edgedistill.errors import DeviceError
from edgedistill.files import sha256_of
from edgedistill.transport import Device, Process, Result

T = TypeVar("T")


def record(device: Device, path: Path) -> Recorder:
    """The device, with everything that is done with it written to `path`."""
    return Recorder(device, path)


def as_text(content: bytes | None) -> str | None:
    """Bytes for a tape: readable where they are text, else `base64:…`."""
    if content is None:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    is_plain = text.encode() == content and not text.startswith("base64:")
    return text if is_plain else f"base64:{base64.b64encode(content).decode()}"


def as_bytes(text: str) -> bytes:
    """The reverse of `as_text`."""
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


class Recorder(Device):
    """Passes every call on, and writes down what came of it."""

    def __init__(self, device: Device, path: Path) -> None:
        self.address, self.evidence = device.address, device.evidence
        self._device = device
        self._path = path
        self._lock = threading.Lock()
        self._processes = itertools.count(1)

    def write(self, call: str, **values: Any) -> None:
        """One line of the tape, at once on the disk."""
        line = json.dumps({"call": call, **values}, ensure_ascii=False)
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def told(self, call: str, given: dict[str, Any], work: Callable[[], T], shown: Callable[[T], dict[str, Any]]) -> T:
        """Do the work and write down what it was given and what came back, or which fault it ended with."""
        try:
            result = work()
        except DeviceError as error:
            fault = {"kind": type(error).__name__, "problem": error.problem, "hint": error.hint}
            self.write(call, **given, fault=fault)
            raise
        self.write(call, **given, **shown(result))
        return result

    def open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("", encoding="utf-8")
        device = self._device

        def shown(_: None) -> dict[str, Any]:
            return {"evidence": device.evidence, "folder": device.folder}

        self.told("open", {"address": str(self.address)}, device.open, shown)
        self.evidence, self.folder = device.evidence, device.folder

    def close(self, is_resumable: bool) -> str | None:
        stays = self._device.close(is_resumable)
        self.write("close")
        return stays

    def facts(self) -> Facts:
        return self.told("facts", {}, self._device.facts, lambda facts: {"facts": asdict(facts)})

    def push(self, local: Path, name: str, *, progress: Callable[[int], None] | None = None) -> str:
        given = {"name": name, "sha256": sha256_of(local)}
        return self.told(
            "push", given, lambda: self._device.push(local, name, progress=progress), lambda path: {"path": path}
        )

    def run(self, argv: Sequence[str], *, timeout: float | None, input: bytes | None = None) -> Result:
        given = {"argv": list(argv), "input_sha256": digest(input)}
        return self.told("run", given, lambda: self._device.run(argv, timeout=timeout, input=input), _shown)

    def start(self, argv: Sequence[str], *, log: str) -> Process:
        number = next(self._processes)
        given = {"argv": list(argv), "log": log, "process": number}
        return RecordedProcess(
            self, number, self.told("start", given, lambda: self._device.start(argv, log=log), lambda _: {})
        )

    @contextmanager
    def forward(self, port: int) -> Iterator[int]:
        with self._device.forward(port) as real:
            self.write("forward", port=port)
            with http_tape.recording(real, lambda **values: self.write("http", port=port, **values)) as shown:
                yield shown

    def pull(self, remote: str, local: Path) -> Path:
        return self.told(
            "pull",
            {"remote": remote},
            lambda: self._device.pull(remote, local),
            lambda path: {"content": as_text(path.read_bytes())},
        )

    def sample(self, paths: Sequence[str]) -> dict[str, str | None]:
        given = {"paths": list(paths)}
        return self.told("sample", given, lambda: self._device.sample(paths), lambda texts: {"texts": texts})


class RecordedProcess(Process):
    """A background process whose every look is written down."""

    def __init__(self, recorder: Recorder, number: int, process: Process) -> None:
        self.argv = process.argv
        self._recorder, self._given, self._process = recorder, {"process": number}, process

    def poll(self) -> int | None:
        return self._recorder.told("poll", self._given, self._process.poll, lambda code: {"code": code})

    def tail(self) -> str:
        return self._recorder.told("tail", self._given, self._process.tail, lambda text: {"text": text})

    def stop(self) -> None:
        self._recorder.told("stop", self._given, self._process.stop, lambda _: {})

    def fault(self) -> DeviceError:
        def shown(error: DeviceError) -> dict[str, Any]:
            return {"found": {"kind": type(error).__name__, "problem": error.problem, "hint": error.hint}}

        return self._recorder.told("fault", self._given, self._process.fault, shown)


def _shown(result: Result) -> dict[str, Any]:
    return {"code": result.code, "out": as_text(result.out), "err": as_text(result.err)}
