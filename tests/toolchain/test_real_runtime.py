"""llama.cpp's programs as they were really built, where they were: `edgedistill toolchain install --target rpi5` and
`--target host`, some ten minutes each on two cores. The arm64 ones run under the emulator: right answers, no speed."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgedistill import target as targets
from edgedistill.artifacts import Candidates
from edgedistill.toolchain import elf, instructions, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROMPT = {"prompt": "turn the light", "n_predict": 8, "temperature": 0, "n_probs": 3, "post_sampling_probs": False}


def built(name: str) -> Path:
    """The runtime of a target, or a skip that says how to get it."""
    folder = runtime.installed(targets.load(name))
    if folder is None:
        pytest.skip(f"not built here: `edgedistill toolchain install --target {name}`")
    return folder


def emulator() -> list[str]:
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if found is None:
        pytest.skip("no emulator: `apt-get install qemu-user-static`")
    return [found, "-cpu", "cortex-a76"]


@pytest.mark.parametrize(("name", "machine"), [("rpi5", "aarch64"), ("host", platform.machine())])
def test_a_runtime_is_static_stripped_small_and_for_the_right_processor(name, machine):
    folder = built(name)
    content = runtime.manifest(folder)
    for program in runtime.PROGRAMS:
        assert elf.read(folder / program) == elf.Elf(machine, is_static=True, is_stripped=True)
        data = (folder / program).read_bytes()
        assert 2**20 < len(data) < 30 * 2**20
        assert str(Path.home()).encode() not in data, "no path of the machine that built it"
    assert content["needs"]


def test_this_machine_has_what_its_own_runtime_needs():
    content = runtime.manifest(built("host"))
    info = Path("/proc/cpuinfo").read_text()
    assert set(content["needs"]) <= instructions.of_every_core(platform.machine(), info)


def test_the_arm64_bench_measures_a_model(tiny_candidates: Candidates):
    command = [*emulator(), built("rpi5") / "llama-bench", "-m", model(tiny_candidates), "-o", "json"]
    done = subprocess.run([*command, "-p", "8", "-n", "4", "-r", "1", "-t", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert [(line["n_prompt"], line["n_gen"]) for line in found] == [(8, 0), (0, 4)]
    assert all(line["avg_ts"] > 0 and "Q8_0" in line["model_type"] for line in found)


def test_the_arm64_server_answers_as_this_machines_own_does(tiny_candidates: Candidates):
    file = model(tiny_candidates)
    with serving([built("host") / "llama-server"], file) as address:
        expected = ask(address, PROMPT)
    with serving([*emulator(), built("rpi5") / "llama-server"], file) as address:
        answer = ask(address, PROMPT)
    assert answer["content"] == expected["content"] and answer["tokens_predicted"] == 8
    first, wanted = (found["completion_probabilities"][0]["logprob"] for found in (answer, expected))
    assert first == pytest.approx(wanted, abs=0.02)  # other instructions, other rounding


def model(candidates: Candidates) -> Path:
    return candidates.file(next(row for row in candidates.rows() if row.quant == "Q8_0"))


@contextmanager
def serving(command: list, file: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    options = ["-m", file, "--port", str(port), "-t", "1", "-c", "128", "--parallel", "1", "--no-warmup"]
    server = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 300
        while not is_healthy(address):
            assert server.poll() is None and time.monotonic() < end, "the server does not start"
            time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.wait()


def is_healthy(address: str) -> bool:
    try:
        return bool(ask(f"{address}/health")["status"] == "ok")
    except (urllib.error.URLError, ConnectionError):  # nobody listens yet, or the model is being loaded
        return False


def ask(address: str, request: dict | None = None) -> dict:
    path = address if request is None else f"{address}/completion"
    data = None if request is None else json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(path, data), timeout=300) as reply:
        found: dict = json.load(reply)
        return found
