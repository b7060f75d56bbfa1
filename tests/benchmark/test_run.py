"""The order of things, and what goes on after a cut. The runtime here is a script: it answers with set times, so it
proves what is asked, kept and counted. Real runtimes are in test_llama.py and test_genai.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import bundle_manifest
from edgedistill.benchmark import journal, run, setup, watch
from edgedistill.benchmark.limits import Limits
from edgedistill.benchmark.load import Extent
from edgedistill.benchmark.run import benchmark
from edgedistill.benchmark.served import Times
from edgedistill.benchmark.watch import State
from edgedistill.devices.faults import WrongArchitecture
from edgedistill.errors import DeviceError, IntegrityError
from edgedistill.files import read_rows
from edgedistill.parity import CaseResult, Parity

EXTENT = Extent("for a test", warm_up=2, requests=10, seconds=60.0, least=3, load_s=0.0)
SAME = CaseResult("system", True, True, 0.01, True)


class Scripted:
    """Answers every request in 100 ms and 10 ms a token; dies before the request numbered `dies_at`."""

    name, pid = "scripted", None

    def __init__(self, dies_at: int | None = None, parity: Parity | None = None) -> None:
        self.asked: list[tuple[list[int], int]] = []
        self.dies_at, self.parity = dies_at, parity or Parity([SAME])

    def replay(self, cases: Sequence[Any], limits: Limits) -> Parity:
        self.replayed = (len(cases), limits)
        return self.parity

    def ask(self, ids: Sequence[int], new_tokens: int) -> Times:
        if len(self.asked) == self.dies_at:
            raise DeviceError("the connection was cut", "run the same command again")
        self.asked.append((list(ids), new_tokens))
        return Times(len(ids), 100.0, new_tokens, 10.0 * (new_tokens - 1))


@pytest.fixture
def scripted(monkeypatch, gguf_bundle) -> Any:
    """Let benchmarks of `gguf_bundle` on this machine run against a script, on a quiet device."""
    monkeypatch.setattr(setup, "_programs", lambda folder, manifest: None)
    monkeypatch.setattr(watch.Watch, "look", _quiet())

    def install(served: Scripted) -> Scripted:
        @contextmanager
        def serving(*_: Any) -> Iterator[Scripted]:
            yield served

        monkeypatch.setattr(setup.Setup, "serving", serving)
        return served

    return install


def _quiet(busy_cores: float = 0.0) -> Any:
    """Looks at a device a second apart each, where others keep some cores busy."""
    seconds = iter(range(10**6))

    def look(self: Any, pid: int | None = None) -> State:
        up_s = float(next(seconds))
        return State(up_s=up_s, busy_s=busy_cores * up_s, steal_s=0.0, load=0.1, peak_mib=64.0)

    return look


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(path) if row["kind"] == kind]


def test_golden_cases_come_first_then_warm_up_then_what_counts(scripted, gguf_bundle, golden_cases):
    served = scripted(Scripted())
    found = benchmark(gguf_bundle, "local", EXTENT)
    assert served.replayed == (8, Limits("Q8_0", 0.5, 0.2, 8))
    assert len(served.asked) == 12 and found.latency["conditions"]["runs"] == 10
    plain = [case.token_ids for case in golden_cases if case.id.startswith("question")]
    assert [ids for ids, _ in served.asked[2:6]] == plain[:4]  # the recipe's own questions, in turn
    assert {count for _, count in served.asked} == {6}  # an answer of the usual length
    assert found.latency["first_token_ms"] == {"p50": 100.0, "p90": 100.0, "p99": 100.0}
    assert found.latency["decode_tok_s"]["p50"] == 100.0 and found.latency["evidence"] == "measured"
    assert rows(found.raw, "done")


def test_a_difference_ends_it_before_anything_is_timed(scripted, gguf_bundle):
    wrong = replace(SAME, difference="case system: token ids differ at position 3: expected 7, got 8")
    served = scripted(Scripted(parity=Parity([SAME, wrong])))
    with pytest.raises(IntegrityError, match=r"does not reproduce .* differ at position 3") as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert found.value.exit_code == 4 and served.asked == []


def test_a_cut_run_keeps_its_requests_and_the_next_one_goes_on(scripted, gguf_bundle):
    scripted(Scripted(dies_at=6))
    with pytest.raises(DeviceError, match="connection was cut") as cut:
        benchmark(gguf_bundle, "local", EXTENT)
    path = journal.place(gguf_bundle, "local")
    assert len(rows(path, "request")) == 4 and f"4 requests are kept in {path}" in cut.value.hint
    again = scripted(Scripted())
    found = benchmark(gguf_bundle, "local", EXTENT)
    assert len(again.asked) == 2 + 6  # warm-up again, then what was missing
    assert (found.latency["conditions"]["runs"], found.latency["conditions"]["resumed_requests"]) == (10, 4)
    assert again.replayed and len(rows(path, "done")) == 1


def test_a_finished_run_is_measured_anew(scripted, gguf_bundle):
    scripted(Scripted())
    benchmark(gguf_bundle, "local", EXTENT)
    again = scripted(Scripted())
    assert benchmark(gguf_bundle, "local", EXTENT).latency["conditions"]["resumed_requests"] is None
    assert len(again.asked) == 12


def test_a_slow_device_is_not_asked_a_hundred_times(scripted, gguf_bundle):
    """Each request takes 150 ms by the runtime's clock: 1 s is over after the seventh."""
    scripted(Scripted())
    assert benchmark(gguf_bundle, "local", replace(EXTENT, seconds=1.0)).latency["conditions"]["runs"] == 7
    scripted(Scripted())
    assert benchmark(gguf_bundle, "local", replace(EXTENT, seconds=0.1)).latency["conditions"]["runs"] == EXTENT.least


def test_the_sustained_phase_keeps_on_asking(scripted, gguf_bundle):
    scripted(Scripted())
    found = benchmark(gguf_bundle, "local", replace(EXTENT, load_s=0.5))
    phases = {row["phase"] for row in rows(found.raw, "request")}
    assert phases == {"measured", "sustained"} and found.latency["conditions"]["sustained_share"] == 1.0
    assert found.latency["conditions"]["sustained_s"] > 0.2 and found.latency["conditions"]["runs"] == 10


def test_a_busy_device_is_not_measured(scripted, gguf_bundle, monkeypatch):
    monkeypatch.setattr(watch.Watch, "look", _quiet(busy_cores=64.0))
    monkeypatch.setattr(run, "QUIET_WAIT_S", 0.0)
    served = scripted(Scripted())
    with pytest.raises(DeviceError, match=r"other processes keep 64.0 of the device's \d+ cores busy") as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert found.value.exit_code == 3 and "nothing was measured" in found.value.hint and served.asked == []


def test_a_busy_device_is_measured_anyway_when_asked_for_and_marked(scripted, gguf_bundle, monkeypatch):
    monkeypatch.setattr(watch.Watch, "look", _quiet(busy_cores=64.0))
    scripted(Scripted())
    noisy = benchmark(gguf_bundle, "local", EXTENT, anyway=True).latency["conditions"]["noisy"]
    assert noisy.startswith("other processes kept 64.0 cores busy before the requests")


def test_an_interrupt_says_what_is_kept(scripted, gguf_bundle):
    served = scripted(Scripted())
    served.ask = lambda ids, new_tokens: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert "0 requests are kept" in found.value.__notes__[0]


def test_another_architecture_is_refused_before_a_runtime_is_built(gguf_bundle, monkeypatch):
    built: list[str] = []
    monkeypatch.setattr(setup, "_programs", lambda folder, manifest: built.append("it was"))
    manifest = bundle_manifest.read(gguf_bundle)
    other = manifest.target.model_copy(update={"triple": "riscv64-linux-musl", "title": "VisionFive 2"})
    bundle_manifest.write(gguf_bundle, manifest.model_copy(update={"target": other}))
    with pytest.raises(WrongArchitecture, match="the bundle is for VisionFive 2, riscv64") as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert found.value.exit_code == 3 and not built
