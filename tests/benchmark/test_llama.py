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
from edgedistill.benchmark import fit, journal, llama
from edgedistill.benchmark.llama import Pushed
from edgedistill.benchmark.load import Extent
from edgedistill.benchmark.run import benchmark
from edgedistill.benchmark.served import Times
from edgedistill.bundle_manifest import open_bundle
from edgedistill.cli import cli
from edgedistill.errors import DeviceError, IntegrityError
from edgedistill.exporters import gguf
from edgedistill.files import read_rows, sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.predictor import own_board
from edgedistill.toolchain import runtime

CONTEXT, ANSWER = 256, 8
"""Those of the bundles in conftest.py."""
EXTENT = Extent("for a test", warm_up=1, requests=4, seconds=60.0, least=2, load_s=0.0)


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
    assert line["latency"]["token_ms"]["p50"] <= line["latency"]["token_ms"]["p90"]
    assert found["memory"] == "peak of llama-server"
    assert 1 < line["memory_mib"]["peak"] < 4096
    verdicts = {budget["verdict"] for budget in report["budgets"]}
    assert verdicts == ({"met"} if evidence == "measured" else {"unproven"})
    manifest = open_bundle(bundle)
    assert manifest.benchmark is not None and manifest.benchmark["parity"]["token_ids"] == 8
    is_kept = evidence == "measured" and found["noisy"] is None
    assert (own_board.stored(device.name) is not None) is is_kept


def test_its_process_is_known_and_its_answers_are_as_long_as_asked(server, where):
    times = server.ask(list(range(10, 30)), 12)
    assert (times.prompt_tokens, times.new_tokens) == (20, 12) and times.prompt_ms > 0 and times.decode_ms > 0
    assert server.pid and b"llama-server" in Path(f"/proc/{server.pid}/cmdline").read_bytes()


def test_of_two_servers_of_one_program_and_file_each_knows_its_own_process(server, where, bundle):
    with transport.open_device(where[0]) as device:
        pushed = llama.push(device, bundle, open_bundle(bundle), where[2])
        with llama.serving(device, pushed, context=CONTEXT, threads=1, sampling={}) as other:
            assert other.pid and server.pid and other.pid != server.pid
            assert device.folder.encode() in Path(f"/proc/{other.pid}/cmdline").read_bytes()


def test_what_golden_cases_take_of_a_servers_memory_is_not_in_the_peak(where, bundle, monkeypatch):
    """Half a million probabilities at once are some 100 MiB of JSON. Its heap would keep a good part of that."""
    usual = benchmark(bundle, where[0], EXTENT, anyway=True)
    usual.finish()
    replay = llama.LlamaServer.replay

    def greedy(self: llama.LlamaServer, *given: Any) -> Any:
        self._post("/completion", {"prompt": [5, 6], "n_predict": 200, "ignore_eos": True, "n_probs": 65_536})
        return replay(self, *given)

    monkeypatch.setattr(llama.LlamaServer, "replay", greedy)
    found = benchmark(bundle, where[0], EXTENT, anyway=True)
    assert usual.memory_mib and found.memory_mib
    assert found.memory_mib["peak"] == pytest.approx(usual.memory_mib["peak"], abs=2.0)


SLOW = Times(100, 5_000.0, 11, 2_000.0)
"""20 and 5 tokens per second: pp512 takes 25.6 s and tg128 as long; with the warm-up one repeat is 76.8 s."""


def _pushed(tmp_path: Path, script: str) -> Pushed:
    program = tmp_path / "llama-bench"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Pushed("", str(program), "model.gguf", "")


@pytest.mark.parametrize(
    ("script", "why"),
    [("sleep 60", "did not end in 1 s; 77 s were to be expected"), ("echo no memory; exit 3", "ended with code 3")],
)
def test_a_llama_bench_that_fails_is_left_out_with_the_reason(tmp_path, monkeypatch, script, why):
    monkeypatch.setattr(llama, "_SLACK", 0.0)
    monkeypatch.setattr(llama, "_SLACK_S", 1.0)
    with transport.open_device("local") as device:
        assert why in llama.bench(device, _pushed(tmp_path, script), None, SLOW)["skipped"]


def test_llama_bench_makes_as_many_repeats_as_there_is_time_for(tmp_path):
    script = 'echo "$@" >>"$(dirname "$0")/asked"; exit 3'
    with transport.open_device("local") as device:
        for seen in (SLOW, Times(512, 1_500.0, 129, 1_500.0), Times(512, 100.0, 129, 100.0)):
            llama.bench(device, _pushed(tmp_path, script), 4, seen)
        slowest = Times(10, 60_000.0, 11, 20_000.0)  # pp512 takes 51 minutes
        assert llama.bench(device, _pushed(tmp_path, script), 4, slowest) == {
            "skipped": "one repeat would take 107 minutes"
        }
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split(" -r ")[1] for line in asked] == ["1 -o json -t 4", "2 -o json -t 4", "3 -o json -t 4"]


def test_other_weights_end_it_with_the_first_difference_and_no_speed(where, bundle, other_llama, cases_of):
    """The golden cases of another model with the same tokenizer."""
    write_rows(bundle / "golden.jsonl", [vars(case) for case in cases_of(other_llama)])
    _sealed(bundle)
    before = bundle_manifest.read(bundle)
    done = bench(bundle, where[0])
    assert isinstance(done.exception, IntegrityError) and "nats from the float student's" in done.exception.problem
    assert bundle_manifest.read(bundle) == before and not list(_rows(bundle, where[0], "request", is_quick=True))


def test_a_begin_token_of_template_and_tokenizer_is_no_difference(where, tiny_gemma, cases_of, bundle_of, tmp_path):
    """Gemma's template writes it, its tokenizer adds it, the server takes one of them off."""
    (candidate,) = gguf.export(tmp_path, Model(tiny_gemma, "gemma"), gguf.Config(quants=("F16",)))
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
            assert self.pid, "0 would mean every process of this test run"
            os.kill(self.pid, signal.SIGKILL)
        return asking(self, ids, new_tokens)

    monkeypatch.setattr(llama.LlamaServer, "ask", kill)
    with pytest.raises(DeviceError, match="llama-server was killed") as found:
        benchmark(bundle, where[0], EXTENT, anyway=True)
    assert found.value.exit_code == 3 and ": 2 requests and 8 golden cases;" in found.value.hint
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


def _rows(bundle: Path, address: str, kind: str, *, is_quick: bool = False) -> Iterator[dict[str, Any]]:
    path = journal.going(journal.place(bundle, address, is_quick=is_quick))
    return (row for row in (read_rows(path) if path.is_file() else ()) if row["kind"] == kind)


def _servers(bundle: Path) -> list[str]:
    """Processes that still serve a bundle's model."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(bundle) in line and "llama-server" in line]
