"""A real llama-server, as it is built for devices: the tool's own build for this machine, else the Raspberry Pi's under
QEMU. What they are asked here takes them seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgedistill import bundle_manifest, transport
from edgedistill import target as targets
from edgedistill.benchmark import fit, journal, limits, llama
from edgedistill.benchmark.limits import Limits
from edgedistill.benchmark.load import Extent
from edgedistill.benchmark.replay import Replay
from edgedistill.benchmark.run import benchmark
from edgedistill.bundle_manifest import Device, open_bundle
from edgedistill.cli import cli
from edgedistill.engine import open_file
from edgedistill.errors import DeviceError, IntegrityError
from edgedistill.exporters import gguf
from edgedistill.files import read_rows, sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.predictor import own_board
from edgedistill.target import Target
from edgedistill.toolchain import runtime

CONTEXT, ANSWER = 256, 8
"""Those of the bundles in conftest.py."""
HOST = Device(name="host", title="this machine", soc="", triple="native", cpu="native", threads=1)
RPI5 = Device(name="rpi5", title="Raspberry Pi 5", soc="", triple="aarch64-linux-musl", cpu="cortex_a76", threads=1)
LIMITS = Limits("Q8_0", 0.5, 0.2, ANSWER)
EXTENT = Extent("for a test", warm_up=1, requests=4, seconds=60.0, least=2, load_s=0.0)


@pytest.fixture(scope="session")
def where() -> tuple[str, Device, Path]:
    """Address, device and programs of a runtime that is built already."""
    if native := runtime.installed(targets.load("host")):
        return "local", HOST, native
    board = runtime.installed(targets.load("rpi5"))
    if board and shutil.which("qemu-aarch64-static"):
        return "qemu://cortex-a76", RPI5, board
    pytest.skip("needs llama-server: `edgedistill toolchain install --target host`, or --target rpi5 and QEMU")


@pytest.fixture
def bundle(where, tiny_candidates, bundle_of) -> Path:
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    return bundle_of(tiny_candidates.file(candidate), candidate, where[1])


@pytest.fixture
def server(where, bundle) -> Iterator[llama.LlamaServer]:
    address, _, programs = where
    with transport.open_device(address) as device:
        pushed = llama.push(device, bundle, open_bundle(bundle), programs)
        with llama.serving(device, pushed, context=CONTEXT, threads=1, sampling={"top_k": 1}) as served:
            yield served


def bench(bundle: Path, address: str) -> Result:
    asked = ["bench", str(bundle), "--device", address, "--quick", "--anyway", "--json"]
    return CliRunner().invoke(cli, asked, standalone_mode=False)


def test_the_command_measures_grades_and_tells(where, bundle):
    address, device, _ = where
    done = bench(bundle, address)
    assert done.exception is None, done.exception
    report = json.loads(done.stdout)
    evidence = "measured" if address == "local" else "emulated"
    (line,) = report["candidates"]
    found = line["latency"]["conditions"]
    assert line["latency"]["evidence"] == evidence and found["where"] == address
    assert found["llama_bench_tg128_tok_s"] > 0 and found["llama_bench_pp512_tok_s"] > 0
    assert found["server"].startswith("llama-server ") and found["new_tokens"] == 6
    assert line["latency"]["token_ms"]["p50"] <= line["latency"]["token_ms"]["p99"]
    assert 1 < line["memory_mib"]["peak"] < 4096
    verdicts = {budget["verdict"] for budget in report["budgets"]}
    assert verdicts == ({"met"} if evidence == "measured" else {"unproven"})
    manifest = open_bundle(bundle)
    assert manifest.benchmark is not None and manifest.benchmark["parity"]["token_ids"] == 8
    is_kept = evidence == "measured" and found["noisy"] is None
    assert (own_board.stored(device.name) is not None) is is_kept


def test_the_server_says_what_the_binding_says(server, where, golden_cases, tiny_candidates):
    """The same file, in the same runtime: once in this process, once over HTTP. Another CPU rounds otherwise, which
    random weights show in an answer's text."""
    found = server.replay(golden_cases, LIMITS)
    assert found.passed, found.first_difference
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    with open_file(tiny_candidates.file(candidate), "gguf", context=CONTEXT) as engine:
        expected = limits.check(golden_cases, engine, LIMITS)
    for one, other in zip(found.results, expected.results, strict=True):
        assert (one.id, one.prompt_text, one.token_ids) == (other.id, other.prompt_text, other.token_ids)
        assert one.first_token_kl == pytest.approx(other.first_token_kl, abs=2e-3)
        assert one.answer_kl == pytest.approx(other.answer_kl, abs=2e-3)
        assert one.greedy_text == other.greedy_text or where[0] != "local"


def test_its_process_is_known_and_its_answers_are_as_long_as_asked(server, where):
    times = server.ask(list(range(10, 30)), 12)
    assert (times.prompt_tokens, times.new_tokens) == (20, 12) and times.prompt_ms > 0 and times.decode_ms > 0
    assert server.pid and b"llama-server" in Path(f"/proc/{server.pid}/cmdline").read_bytes()


def test_control_tokens_of_an_answer_are_not_in_its_text(server, golden_cases):
    replay = Replay(server._post, server._properties, golden_cases)
    control, word = golden_cases[0].added[0], golden_cases[0].answer[0]
    assert replay.text_of([control]) == ""
    assert replay.text_of([control, word, control]) == replay.text_of([word])


def test_answers_that_go_another_way_behind_the_first_token_are_found(server, golden_cases):
    """What a cache that is written wrongly does: the first token is right, and what is held likely later is not."""
    turned = [replace(case, steps=[case.steps[0], *case.steps[:0:-1]]) for case in golden_cases]
    found = server.replay(turned, LIMITS)
    assert "over the golden answers the distributions are" in found.first_difference
    assert found.answer_kl_mean is not None and found.answer_kl_mean > 0.02


def test_cases_without_the_students_distributions_leave_the_answers_unknown(server, golden_cases):
    found = server.replay([replace(case, steps=[]) for case in golden_cases], LIMITS)
    assert found.passed and found.line()["answer_kl_mean"] is None


def test_an_end_token_that_does_not_end_an_answer_is_found(server, golden_cases):
    wrong = [replace(case, stop_ids=[*case.stop_ids, 40]) for case in golden_cases]
    assert "the end token 40" in server.replay(wrong, LIMITS).first_difference


def test_another_prompt_or_other_ids_are_found_at_their_place(server, golden_cases):
    first, *rest = golden_cases
    text = replace(first, prompt=first.prompt.replace("helpful", "hopeful"))
    assert "prompt text differs at character" in server.replay([text, *rest], LIMITS).first_difference
    ids = replace(first, token_ids=[*first.token_ids[:5], 99, *first.token_ids[6:]])
    assert "token ids differ at position 5" in server.replay([ids, *rest], LIMITS).first_difference


def test_other_weights_end_it_with_the_first_difference_and_no_speed(where, bundle, other_llama, cases_of):
    """The golden cases of another model with the same tokenizer."""
    write_rows(bundle / "golden.jsonl", [vars(case) for case in cases_of(other_llama)])
    _sealed(bundle)
    before = bundle_manifest.read(bundle)
    done = bench(bundle, where[0])
    assert isinstance(done.exception, IntegrityError) and "nats from the float student's" in done.exception.problem
    assert bundle_manifest.read(bundle) == before and not list(_rows(bundle, where[0], "request"))


def test_a_begin_token_of_template_and_tokenizer_is_no_difference(where, tiny_gemma, cases_of, bundle_of, tmp_path):
    """Gemma's template writes it, its tokenizer adds it, the server takes one of them off."""
    target = Target(name="t", title="t", soc="t", triple="native", cpu="native")
    (candidate,) = gguf.export(tmp_path, Model(tiny_gemma, "gemma"), target, gguf.Config(quants=("F16",)))
    cases = cases_of(tiny_gemma)
    assert any(case.prompt.startswith("<bos>") for case in cases)
    folder = bundle_of(tmp_path / candidate.file, candidate, where[1], cases)
    shutil.copyfile(tiny_gemma / "chat_template.jinja", folder / "chat_template.jinja")
    _sealed(folder)
    found = benchmark(folder, where[0], EXTENT, anyway=True)
    assert found.parity["passed"] and found.parity["prompt_text"] == found.parity["token_ids"] == len(cases)


def test_a_server_that_is_killed_is_told_and_the_next_run_goes_on(where, bundle, monkeypatch):
    asking = llama.LlamaServer.ask

    def kill(self: llama.LlamaServer, ids: Any, new_tokens: int) -> Any:
        if len(list(_rows(bundle, where[0], "request"))) == 2:
            os.kill(self.pid or 0, signal.SIGKILL)
        return asking(self, ids, new_tokens)

    monkeypatch.setattr(llama.LlamaServer, "ask", kill)
    with pytest.raises(DeviceError, match="llama-server was killed") as found:
        benchmark(bundle, where[0], EXTENT, anyway=True)
    assert found.value.exit_code == 3 and "2 requests are kept" in found.value.hint
    monkeypatch.undo()
    again = benchmark(bundle, where[0], EXTENT, anyway=True).latency["conditions"]
    assert (again["runs"], again["resumed_requests"]) == (4, 2)
    assert not _servers(bundle)


def test_a_file_that_the_server_cannot_load_is_told_with_its_words(where, bundle):
    model = bundle / "model.gguf"
    model.write_bytes(model.read_bytes()[:-5000])
    _sealed(bundle)
    with pytest.raises(DeviceError, match="llama-server ended with code 1") as found:
        benchmark(bundle, where[0], EXTENT, anyway=True)
    assert "model" in found.value.problem and not _servers(bundle)


def test_the_runtimes_own_needs_are_held_against_the_device(where, bundle):
    address, _, programs = where
    needs = tuple(runtime.manifest(programs)["needs"])
    with transport.open_device(address) as opened:
        facts = opened.facts()
    fit.check_machine(facts, runtime.manifest(programs)["triple"].partition("-")[0], needs, open_bundle(bundle))
    if needs:
        with pytest.raises(DeviceError, match=f"uses {min(needs)}"):
            lacking = replace(facts, cpu_features=("none",))
            fit.check_machine(lacking, facts.machine, (min(needs),), open_bundle(bundle))


def _sealed(bundle: Path) -> None:
    """Make the manifest fit files that a test has changed."""
    manifest = bundle_manifest.read(bundle)
    chosen = {**manifest.chosen, "sha256": sha256_of(bundle / "model.gguf")}
    files = bundle_manifest.listed(bundle)
    bundle_manifest.write(bundle, manifest.model_copy(update={"files": files, "chosen": chosen}))


def _rows(bundle: Path, address: str, kind: str) -> Iterator[dict[str, Any]]:
    path = journal.place(bundle, address)
    return (row for row in (read_rows(path) if path.is_file() else ()) if row["kind"] == kind)


def _servers(bundle: Path) -> list[str]:
    """Processes that still serve a bundle's model."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(bundle) in line and "llama-server" in line]
