"""What `bench` refuses, and in which order it keeps what was found, for figures written by hand. The line that measures
is tested where the real runtimes run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgedistill import bundle_manifest, publishing
from edgedistill.benchmark import journal
from edgedistill.benchmark.run import Found
from edgedistill.bundle_manifest import Device, open_bundle
from edgedistill.cli import cli
from edgedistill.commands import bench
from edgedistill.errors import UsageError
from edgedistill.predictor import own_board
from edgedistill.report import assemble

RPI5 = Device(name="rpi5", title="Raspberry Pi 5", soc="", triple="aarch64-linux-musl", cpu="cortex_a76", threads=4)


@pytest.fixture
def measures(found, monkeypatch) -> Callable[..., list[tuple[Path, str]]]:
    """(evidence, conditions…): from now on a benchmark finds that. Returns the list of what was run, and where."""

    def make(*evidence: str, **conditions: Any) -> list[tuple[Path, str]]:
        asked: list[tuple[Path, str]] = []

        def benchmark(folder: Path, address: str, *_: Any, **__: Any) -> Found:
            asked.append((folder, address))
            raw = journal.place(folder, address)
            raw.parent.mkdir(exist_ok=True)
            journal.going(raw).write_text('{"kind": "run"}\n')
            return replace(found(*evidence, where=address, **conditions), raw=raw)

        monkeypatch.setattr(bench, "benchmark", benchmark)
        return asked

    return make


def ask(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["bench", *words, "--json"], standalone_mode=False, catch_exceptions=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_bundle_that_one_stands_in(gguf_bundle, measures, monkeypatch):
    asked = measures()
    monkeypatch.chdir(gguf_bundle)
    report = ask(".")
    assert asked == [(gguf_bundle, "local")] and report["bundle"]["path"] == str(gguf_bundle)
    assert gguf_bundle.with_name("tiny-host.report.html").is_file() and open_bundle(Path()).benchmark is not None


@pytest.mark.parametrize("address", ["ssh://other-box", "adb", "qemu://cortex-a76"])
def test_this_machines_budgets_are_not_measured_elsewhere(address, gguf_bundle, measures):
    asked = measures()
    with pytest.raises(UsageError, match="target `host` is built for this machine"):
        ask(str(gguf_bundle), "--device", address)
    assert not asked


def test_a_boards_budgets_are_not_measured_on_this_machine(tiny_candidates, bundle_of, measures):
    asked, candidate = measures(), next(iter(tiny_candidates.rows()))
    strange = RPI5.model_copy(update={"triple": "riscv64-linux-musl"})
    folder = bundle_of(tiny_candidates.file(candidate), candidate, strange)
    with pytest.raises(UsageError, match="is Raspberry Pi 5, not this machine"):
        ask(str(folder), "--device", "local")
    with pytest.raises(UsageError, match="where is the Raspberry Pi 5"):
        ask(str(folder))
    assert not asked


def test_a_tape_is_of_whatever_device_it_was_recorded_on(gguf_bundle, measures):
    assert measures() == [] and ask(str(gguf_bundle), "--device", "replay://a.tape")["benchmark"]["parity"]["passed"]


def test_another_device_leaves_no_verdict_and_no_calibration(gguf_bundle, measures):
    measures(other_device="4x Cortex-A55")
    report = ask(str(gguf_bundle))
    assert {budget["verdict"] for budget in report["budgets"]} == {"unproven"} and report["exit_code"] == 0
    assert own_board.stored("host") is None


def test_a_report_that_cannot_be_read_stops_it_before_anything_is_measured(gguf_bundle, measures):
    asked, before = measures(), open_bundle(gguf_bundle)
    gguf_bundle.with_name("tiny-host.report.json").write_text("{}")
    with pytest.raises(UsageError, match="is not a report of schema"):
        ask(str(gguf_bundle))
    assert not asked and open_bundle(gguf_bundle) == before


def test_two_benchmarks_of_a_bundle_at_one_address_follow_each_other(gguf_bundle, measures, monkeypatch, capsys):
    measures()
    found, finish, seen = bench.benchmark, journal.finish, []

    def slow(*given: Any, **how: Any) -> Found:
        seen.append("begun")
        time.sleep(0.5)
        return found(*given, **how)

    monkeypatch.setattr(bench, "benchmark", slow)
    monkeypatch.setattr(journal, "finish", lambda to: [finish(to), seen.append("finished")])
    how = {"keep": False, "anyway": False}
    with ThreadPoolExecutor(2) as both:
        runs = [both.submit(bench.measured, gguf_bundle, "local", quick=quick, **how) for quick in (False, True)]
    assert [run.exception() for run in runs] == [None, None]
    assert seen == ["begun", "finished", "begun", "finished"]
    assert "waiting: another process is working on a benchmark of tiny-host at local" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("owner", "name"),
    [(publishing, "rewrite"), (assemble, "save"), (own_board, "store")],
    ids=["bundle", "report", "calibration"],
)
def test_a_run_is_finished_only_when_all_of_it_is_kept(owner, name, gguf_bundle, measures, monkeypatch):
    """A full disk at any step: the rows are where the next run goes on from them."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    measures()
    raw = journal.place(gguf_bundle, "local")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(owner, name, full)
        ask(str(gguf_bundle))
    assert journal.going(raw).is_file() and not raw.exists()
    open_bundle(gguf_bundle)
    ask(str(gguf_bundle))
    assert raw.is_file() and not journal.going(raw).exists()


def test_the_report_tells_a_later_emulated_run_beside_the_measured_one(tiny_candidates, bundle_of, measures):
    candidate = next(iter(tiny_candidates.rows()))
    folder = bundle_of(tiny_candidates.file(candidate), candidate, RPI5)
    measures()
    first = ask(str(folder), "--device", "ssh://pi@board")
    measures("emulated")
    second = ask(str(folder), "--device", "qemu://cortex-a76")
    assert second["benchmark"] == first["benchmark"] and second["budgets"] == first["budgets"]
    assert second["candidates"] == first["candidates"] and first["elsewhere"] is None
    assert second["elsewhere"]["where"] == "qemu://cortex-a76" and second["elsewhere"]["parity"]["greedy_text"] == 7
    assert second["elsewhere"]["latency"]["evidence"] == "emulated"
    assert bundle_manifest.read(folder).elsewhere is not None
