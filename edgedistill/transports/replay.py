"""`replay://FILE`: a run that was recorded on a device (devices/tape.py), played again without it.

What acts (push, run, start, stop, pull, forward) must come in the recorded order with the same arguments: the first
difference is a fault that names both. What only looks (facts, samples, polls, logs, requests to a port) may come more
or less often than recorded, because that is a matter of time. They get what was seen at the same step of the tape, and
the last of it again.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgedistill.devices import faults, http_tape
from edgedistill.devices.facts import Facts
from edgedistill.devices.faults import TapeDiffers
from edgedistill.devices.tape import as_bytes, digest
from edgedistill.errors import DeviceError, UsageError
from edgedistill.files import read_rows, sha256_of
from edgedistill.transport import Address, Device, Process, Result

VERSION = 1

_ACTS = {"push", "run", "start", "stop", "pull", "forward"}
_GIVEN = {
    "push": ("name", "sha256"), "run": ("argv", "input_sha256"), "start": ("argv", "log", "process"),
    "stop": ("process",), "pull": ("remote",), "forward": ("port",), "sample": ("paths",), "poll": ("process",),
    "tail": ("process",), "fault": ("process",), "http": ("port", "method", "path", "body_sha256"), "facts": (),
}  # fmt: skip
"""What a call is known by; the rest of its line is what came back."""


def open_device(address: Address, *, keep: bool = False, folder: str | None = None) -> Replay:
    """The device of a tape. Raises UsageError for a file that is none."""
    path = Path(address.name)
    try:
        rows = list(read_rows(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"device address `{address}`: {path} cannot be read as a tape: {error}") from None
    if not rows or rows[0].get("call") != "open":
        raise UsageError(f"device address `{address}`: {path} does not begin like a tape")
    return Replay(address, rows)


class Replay(Device):
    """A device that answers from a tape."""

    def __init__(self, address: Address, rows: list[dict[str, Any]]) -> None:
        self.address = address
        self.evidence = rows[0].get("evidence", "measured")  # without one, opening it failed
        self._first = rows[0]
        self._acts: deque[dict[str, Any]] = deque()
        self._looks: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        for row in rows:
            if row["call"] in _ACTS:
                self._acts.append(row)
            elif row["call"] in _GIVEN:
                self._looks[_key(row["call"], row)].append({**row, "step": len(self._acts)})
        self._lock = threading.Lock()
        self._done = self._started = 0
        self._difference: TapeDiffers | None = None

    def open(self) -> None:
        _raise(self._first)
        self.folder = self._first["folder"]

    def close(self, is_resumable: bool) -> None:
        """Raises TapeDiffers for a request to a port that the tape has not; whoever asked may have gone on."""
        if self._difference and not is_resumable:
            raise self._difference

    def act(self, call: str, **given: Any) -> dict[str, Any]:
        """The next line of the tape, which must be this call."""
        with self._lock:
            self._done += 1
            if not self._acts:
                raise self._differs(f"step {self._done} is {_told(call, given)}; the tape has ended")
            row = self._acts.popleft()
            for seen in self._looks.values():  # what was seen at earlier steps is over
                while len(seen) > 1 and seen[0]["step"] < self._done and seen[1]["step"] <= self._done:
                    seen.popleft()
        if row["call"] != call:
            raise self._differs(f"step {self._done} is {_told(call, given)}; on the tape it is {_told_row(row)}")
        for name, value in given.items():
            if row[name] != value:
                raise self._differs(
                    f"step {self._done}, {call}: `{name}` is {json.dumps(value)}, on the tape {json.dumps(row[name])}"
                )
        _raise(row)
        return row

    def look(self, call: str, **given: Any) -> dict[str, Any]:
        """What was seen at this step: the next answer, or the last one again."""
        with self._lock:
            seen = self._looks.get(_key(call, given))
            if not seen:
                raise self._differs(f"{_told(call, given)} is not on the tape")
            row = seen[0]
            if len(seen) > 1 and seen[1]["step"] <= self._done:
                seen.popleft()
        _raise(row)
        return row

    def facts(self) -> Facts:
        found = self.look("facts")["facts"]
        lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
        return Facts(**{**found, **lists})

    def push(self, local: Path, name: str, *, progress: Callable[[int], None] | None = None) -> str:
        path: str = self.act("push", name=name, sha256=sha256_of(local))["path"]
        if progress:
            progress(local.stat().st_size)
        return path

    def run(self, argv: Sequence[str], *, timeout: float | None, input: bytes | None = None) -> Result:
        row = self.act("run", argv=list(argv), input_sha256=digest(input))
        return Result(row["code"], as_bytes(row["out"]), as_bytes(row["err"]))

    def start(self, argv: Sequence[str], *, log: str) -> Process:
        self._started += 1
        self.act("start", argv=list(argv), log=log, process=self._started)
        return ReplayedProcess(self, argv, self._started)

    @contextmanager
    def forward(self, port: int) -> Iterator[int]:
        self.act("forward", port=port)

        def answer(method: str, path: str, body_sha256: str) -> dict[str, Any] | None:
            try:
                return self.look("http", port=port, method=method, path=path, body_sha256=body_sha256)
            except TapeDiffers as difference:
                self._difference = self._difference or difference
                return None

        with http_tape.replaying(answer) as own:
            yield own

    def pull(self, remote: str, local: Path) -> Path:
        row = self.act("pull", remote=remote)
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(as_bytes(row["content"]))
        return local

    def sample(self, paths: Sequence[str]) -> dict[str, str | None]:
        texts: dict[str, str | None] = self.look("sample", paths=list(paths))["texts"]
        return texts

    def _differs(self, what: str) -> TapeDiffers:
        return TapeDiffers(f"{self.address}: {what}", "record the run anew: devices/tape.py says how")


class ReplayedProcess(Process):
    """A background process of a tape."""

    def __init__(self, device: Replay, argv: Sequence[str], number: int) -> None:
        self.argv = tuple(argv)
        self._device, self._number = device, number

    def poll(self) -> int | None:
        code: int | None = self._device.look("poll", process=self._number)["code"]
        return code

    def tail(self) -> str:
        text: str = self._device.look("tail", process=self._number)["text"]
        return text

    def stop(self) -> None:
        self._device.act("stop", process=self._number)

    def fault(self) -> DeviceError:
        return _fault(self._device.look("fault", process=self._number)["found"])


def _key(call: str, given: dict[str, Any]) -> str:
    return json.dumps([call, *(given[name] for name in _GIVEN[call])])


def _raise(row: dict[str, Any]) -> None:
    if "fault" in row:
        raise _fault(row["fault"])


def _fault(told: dict[str, str]) -> DeviceError:
    kind = getattr(faults, told["kind"], DeviceError)
    error: DeviceError = kind(told["problem"], told["hint"])
    return error


def _told(call: str, given: dict[str, Any]) -> str:
    return f"{call} {json.dumps(given, ensure_ascii=False)}"


def _told_row(row: dict[str, Any]) -> str:
    return _told(row["call"], {name: row[name] for name in _GIVEN[row["call"]]})
