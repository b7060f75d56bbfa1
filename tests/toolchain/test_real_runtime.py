"""llama.cpp's programs as they were really built, where they were: `edgedistill toolchain install --target rpi5` and
`--target host`, some ten minutes each on two cores. The arm64 ones run under the emulator: right answers, no speed."""

from __future__ import annotations

import json
import math
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

REQUEST = {"n_predict": 1, "n_probs": 100, "temperature": 0, "ignore_eos": True, "cache_prompt": False}


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


def test_the_arm64_server_computes_what_this_machines_own_does(tiny_candidates: Candidates):
    """Sums of products of 8-bit weights are whole numbers, the same on every processor. With attention in 32 bits too,
    nothing is left that may differ: a kernel that was built wrong is off by tenths."""
    options = ["-fa", "off", "-ctk", "f32", "-ctv", "f32"]
    here, there = (log_probs(command, model(tiny_candidates), options) for command in servers())
    assert off_by(there, here) < 0.001


@pytest.mark.parametrize(("quant", "least"), [("F16", 0.01), ("Q8_0", 0.0)])
def test_with_its_usual_settings_it_is_as_near_to_the_float_model(quant, least, tiny_candidates, tiny_llama):
    """The usual attention multiplies 16-bit floats: a Cortex-A76 adds them up in 16 bits, x86 in 32, and rounding
    activations to 8 bits may make a whole step, 1/127 of the greatest, out of that. So the two differ from each other,
    though by less than quantizing costs, and neither is worse. Without quantizing, what is left is the 16 bits alone:
    2**-11 of logits of about 10."""
    here, there = (log_probs(command, model(tiny_candidates, quant), []) for command in servers())
    wanted = log_probs_of_the_float_model(tiny_llama)
    own = off_by(here, wanted)
    assert off_by(there, wanted) < max(1.25 * own, least)
    assert off_by(there, here) < max(own, least)


PROMPTS = ["turn the light", "what is", "the cat sat", "one two three four five", "if x then y", "say no more to me"]
BEST = 20


def servers() -> tuple[list, list]:
    """This machine's own, and the one for arm64."""
    return [built("host") / "llama-server"], [*emulator(), built("rpi5") / "llama-server"]


def log_probs(command: list, file: Path, options: list[str]) -> list[dict[int, float]]:
    """Of the next token after each prompt: id -> natural log, the best first."""
    found = []
    with serving([*command, *options], file) as address:
        for prompt in PROMPTS:
            answer = ask(f"{address}/completion", {**REQUEST, "prompt": prompt})
            (first,) = answer["completion_probabilities"]
            found.append({one["id"]: one["logprob"] for one in first["top_logprobs"]})
    return found


def log_probs_of_the_float_model(folder: Path) -> list[dict[int, float]]:
    """The same by transformers, in 32 bits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, float_model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for prompt in PROMPTS:
        with torch.no_grad():
            logits = float_model.float()(**tokenizer(prompt, return_tensors="pt")).logits[0, -1]
        values, ids = logits.log_softmax(-1).sort(descending=True)
        found.append(dict(zip(ids.tolist(), values.tolist(), strict=True)))
    return found


def off_by(found: list[dict[int, float]], wanted: list[dict[int, float]]) -> float:
    """Root mean square of the differences, over the best tokens of every prompt."""
    both = zip(found, wanted, strict=True)
    pairs = [(one[token], other[token]) for one, other in both for token in list(other)[:BEST]]
    return math.sqrt(sum((one - other) ** 2 for one, other in pairs) / len(pairs))


def model(candidates: Candidates, quant: str = "Q8_0") -> Path:
    return candidates.file(next(row for row in candidates.rows() if row.quant == quant))


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
    data = None if request is None else json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data), timeout=300) as reply:
        found: dict = json.load(reply)
        return found
