"""llama-server on the device, from the bundle's own settings, and llama-bench beside it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.benchmark import limits as rules
from edgedistill.benchmark.limits import Limits
from edgedistill.benchmark.replay import Replay
from edgedistill.benchmark.served import Keep, Times
from edgedistill.bundle_manifest import Manifest
from edgedistill.devices import exits
from edgedistill.devices.faults import TookTooLong
from edgedistill.devices.push import sending
from edgedistill.errors import DeviceError, StageFailed, UsageError
from edgedistill.golden import GoldenCase
from edgedistill.log import say
from edgedistill.parity import Parity
from edgedistill.sections import Requests
from edgedistill.server import Server
from edgedistill.transport import Device, Process

LOAD_LIMIT_S = 900.0
"""A file of 8 GB from an SD card takes 7 minutes."""
ANSWER_LIMIT_S = 900.0
_TOLD_EVERY_S = 10.0
_SETTLE_S = 1.0
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_COMMANDS = """\
for file in $(grep -ls -- --alias /proc/[0-9]*/cmdline); do
    number=${file#/proc/}
    printf '\\036%s ' "${number%/cmdline}"
    tr '\\000' '\\037' <"$file" 2>/dev/null
done
:"""
"""Every process whose command has an alias: its number, and its words."""
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")

PEER_PROMPT, PEER_ANSWER, PEER_REPEATS = 512, 128, 3
"""What others publish: pp512 and tg128."""
PEER_S = 10.0
"""Fewer repeats where all take longer; one is made in any case."""
PEER_LIMIT_S = 1800.0
"""A device on which it would take longer than this goes without."""
_SLACK, _SLACK_S = 3.0, 120.0
"""It may take so many times as long as was to be expected, and load the model."""


@dataclass(frozen=True)
class Pushed:
    """Paths on the device."""

    server: str
    bench: str
    model: str
    template: str


def push(device: Device, folder: Path, manifest: Manifest, programs: Path) -> Pushed:
    """Everything that will run, before anything does. What is there already is not sent again.

    programs  folder of llama-server and llama-bench, built for the device
    """
    files = [*programs_of(programs), folder / manifest.model, folder / "chat_template.jinja"]
    return Pushed(*(_pushed(device, file) for file in files))


def _pushed(device: Device, file: Path) -> str:
    with sending(file) as advance:
        return device.push(file, file.name, progress=advance)


def programs_of(folder: Path) -> list[Path]:
    """Those of a runtime that a benchmark needs."""
    return [folder / "llama-server", folder / "llama-bench"]


@contextmanager
def serving(
    device: Device,
    pushed: Pushed,
    *,
    context: int,
    threads: int | None,
    sampling: dict[str, Any],
    log: str = "llama-server.log",
) -> Iterator[LlamaServer]:
    """llama-server with the bundle's model, loaded and healthy; it is gone when the block ends.

    sampling  of the bundle: what every request is asked with
    log       its name on the device: of each process another one, in which only that one says where it listens
    Raises    DeviceError when it does not start, or is not healthy in time
    """
    options = ["--model", pushed.model, "--jinja", "--chat-template-file", pushed.template]
    options += ["--ctx-size", str(context), *(["--threads", str(threads)] if threads else [])]
    # One conversation at a time, as in an app; a second copy of the cache would count as the model's memory.
    options += ["--parallel", "1", "--cache-ram", "0", "--host", "127.0.0.1", "--port", "0"]
    # Others may run the same program, even from the same file; the work folder is nobody else's.
    process = device.start([pushed.server, *options, "--alias", device.folder], log=log)
    try:
        with device.forward(_port(process)) as port:
            server = LlamaServer(process, port, sampling)
            server.check_health()
            server.pid = _pid(device, device.folder)
            yield server
    finally:
        process.stop()


def _port(process: Process) -> int:
    """Where it listens, which it says when the model is loaded: it takes a port that is free."""
    begun = told = time.monotonic()
    while (now := time.monotonic()) - begun < LOAD_LIMIT_S:
        if found := _LISTENING.search(process.tail()):
            return int(found[1])
        if process.poll() is not None:
            raise process.fault()
        if now - told >= _TOLD_EVERY_S:
            told = now
            say(f"  llama-server loads the model, {now - begun:,.0f} s")
        time.sleep(0.1)
    raise DeviceError(
        f"llama-server has not loaded the model after {LOAD_LIMIT_S:,.0f} s; its last words:\n{process.tail()}",
        "nothing was measured; look at the device's disk and memory, and run the same command again",
    )


def _pid(device: Device, mark: str) -> int | None:
    """The server's process on the device, by a word of its command; None where processes cannot be seen."""
    found = device.run(["sh", "-c", _COMMANDS], timeout=60).text.split("\x1e")[1:]
    numbered = [record.partition(" ")[::2] for record in found]
    return next((int(number) for number, words in numbered if mark in words.split("\x1f")), None)


class LlamaServer:
    """See `served.Served`."""

    def __init__(self, process: Process, port: int, sampling: dict[str, Any]) -> None:
        self._process = process
        self._server = Server(f"http://127.0.0.1:{port}", None, Requests(tries=1, timeout_s=ANSWER_LIMIT_S))
        self._sampling = {name: sampling[name] for name in _SAMPLING if name in sampling}
        self._properties: dict[str, Any] = {}
        self.pid: int | None = None
        self.name, self.memory = "llama-server", "peak of llama-server"

    def check_health(self) -> None:
        """Raises DeviceError when it is not healthy."""
        if (self._get("/health") or {}).get("status") != "ok":
            raise DeviceError(f"llama-server is not healthy; its last words:\n{self._process.tail()}")
        self._properties = self._get("/props")
        self.name = f"llama-server {self._properties.get('build_info', '')}".strip()

    def replay(
        self, cases: Sequence[GoldenCase], limits: Limits, known: Mapping[str, dict[str, Any]], keep: Keep
    ) -> Parity:
        heard = Replay(self._post, self._properties, cases, limits.max_tokens, known, keep)
        return rules.check(cases, heard, limits)

    def ask(self, ids: Sequence[int], new_tokens: int) -> Times:
        body = {"prompt": list(ids), "n_predict": new_tokens, "ignore_eos": True, "cache_prompt": False}
        found = self._post("/completion", {**self._sampling, **body})["timings"]
        return Times(found["prompt_n"], found["prompt_ms"], found["predicted_n"], found["predicted_ms"])

    def _get(self, path: str) -> Any:
        try:
            return self._server.get(path)
        except (StageFailed, UsageError) as error:
            raise self._fault(error) from error

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return self._server.post(path, body, seed=0)
        except StageFailed as error:
            if ": 500 " in error.problem and self._process.poll() is None:  # e.g. a template that refuses
                raise UsageError(error.problem) from error
            raise self._fault(error) from error

    def _fault(self, error: StageFailed | UsageError) -> DeviceError:
        """Why it does not answer: it ended, the way to it is cut, or it says so itself."""
        time.sleep(_SETTLE_S)  # the connections of a process that is killed close before it is gone
        if self._process.poll() is not None:
            return self._process.fault()
        hint = "what was measured is kept; run the same command again, it goes on"
        if not self._properties:  # it never did, though it listens
            hint = "it runs there; if the device's sshd_config says `AllowTcpForwarding no`, allow forwarding"
        return DeviceError(f"llama-server does not answer: {error.problem}", hint)


def bench(device: Device, pushed: Pushed, threads: int | None, seen: Times) -> dict[str, Any]:
    """llama-bench's pp512 and tg128, tokens per second. It leaves out tokenizing and sampling.

    It stands beside what was measured and is no part of it: where it fails, or would take too long, `skipped` says why.

    seen    a request to the same model on this device: it tells how long to wait
    Raises  DeviceError when something happens to the device, or to the way there
    """
    warm_up = once = PEER_PROMPT * seen.prompt_token_ms / 1000
    once += PEER_ANSWER * seen.token_ms / 1000
    repeats = max(1, min(PEER_REPEATS, int((PEER_S - warm_up) / once)))
    expected_s = warm_up + repeats * once
    if expected_s > PEER_LIMIT_S:
        return {"skipped": f"one repeat would take {expected_s / 60:,.0f} minutes"}
    sizes = ["-p", str(PEER_PROMPT), "-n", str(PEER_ANSWER), "-r", str(repeats), "-o", "json"]
    command = [pushed.bench, "-m", pushed.model, *sizes, *(["-t", str(threads)] if threads else [])]
    begun = time.monotonic()
    try:
        done = device.run(command, timeout=_SLACK * expected_s + _SLACK_S)
    except TookTooLong:
        return {"skipped": f"did not end in {time.monotonic() - begun:,.0f} s; {expected_s:,.0f} s were to be expected"}
    if done.code:
        problem = exits.fault(device, command, done.code, done.err.decode(errors="replace")).problem
        return {"skipped": " ".join(problem.split())[:300]}
    return {**_peer(json.loads(done.text)), "repeats": repeats, "seconds": round(time.monotonic() - begun, 1)}


def _peer(rows: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = {("pp" if row["n_prompt"] else "tg"): row for row in rows}
    spread = speeds["tg"]["stddev_ts"] / speeds["tg"]["avg_ts"]
    return {
        "pp512_tok_s": round(speeds["pp"]["avg_ts"], 2),
        "tg128_tok_s": round(speeds["tg"]["avg_ts"], 2),
        "tg128_spread": round(spread, 4) if len(speeds["tg"]["samples_ts"]) > 1 else None,
        "build": f"{rows[0]['build_number']} ({rows[0]['build_commit']})",
    }
