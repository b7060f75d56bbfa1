"""The order of things, and what goes on after a cut. The runtime here is a script: it answers with set times, so it
proves what is asked, kept and counted. Real runtimes are in test_llama.py and test_genai.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import bundle_manifest
from edgedistill.benchmark import journal, llama, load, run, setup, watch
from edgedistill.benchmark.limits import Limits
from edgedistill.benchmark.load import Extent
from edgedistill.benchmark.run import benchmark
from edgedistill.benchmark.served import Times
from edgedistill.benchmark.watch import State
from edgedistill.devices.faults import ConnectionCut, WrongArchitecture
from edgedistill.errors import DeviceError, IntegrityError
from edgedistill.files import read_rows
from edgedistill.parity import CaseResult, Parity
from edgedistill.transports.local import Local

EXTENT = Extent("for a test", warm_up=2, requests=10, seconds=60.0, least=3, load_s=0.0)
SAME = CaseResult("system", True, True, 0.01, True)


class Scripted:
    """Answers every request in 100 ms and 10 ms a token, and each golden case with its number; dies before one of them,
    or when so many requests of a run are kept.
    """

    name, pid, memory = "scripted", None, "peak of a script"

    def __init__(self, dies_after: int | None = None, parity: Parity | None = None, dies_at_case: int = -1) -> None:
        self.asked: list[tuple[list[int], int]] = []
        self.heard: list[str] = []
        self.dies_after, self.parity, self.dies_at_case = dies_after, parity or Parity([SAME]), dies_at_case
        self.path = Path()
        self.processes: list[tuple[str, int, int]] = []
        """Of each what it is for, and how many golden cases and requests it was asked."""

    def replay(self, cases: Sequence[Any], limits: Limits, known: Any, keep: Any) -> Parity:
        self.replayed = (len(cases), limits)
        for number, case in enumerate(cases):
            if number == self.dies_at_case:
                raise DeviceError("the connection was cut", "run the same command again")
            if case.id not in known:
                self.heard.append(case.id)
                keep({"id": case.id, "number": number})
        return self.parity

    def ask(self, ids: Sequence[int], new_tokens: int) -> Times:
        if self.dies_after is not None and len(rows(self.path, "request")) == self.dies_after:
            raise DeviceError("the connection was cut", "run the same command again")
        self.asked.append((list(ids), new_tokens))
        return Times(len(ids), 100.0, new_tokens, 10.0 * (new_tokens - 1))

    @property
    def in_turn(self) -> list[list[int]]:
        """The prompts, those that were repeated during a look once."""
        return [ids for ids, _ in itertools.groupby(ids for ids, _ in self.asked)]


@pytest.fixture
def scripted(monkeypatch, gguf_bundle) -> Any:
    """Let benchmarks of `gguf_bundle` on this machine run against a script, on a quiet device."""
    monkeypatch.setattr(setup, "_programs", lambda folder, manifest: None)
    monkeypatch.setattr(watch.Watch, "look", _quiet())
    monkeypatch.setattr(run, "QUIET_S", 0.0)

    def install(served: Scripted) -> Scripted:
        served.path = going(gguf_bundle)

        @contextmanager
        def serving(_made: Any, _pushed: Any, what: str) -> Iterator[Scripted]:
            heard, asked = len(served.heard), len(served.asked)
            yield served
            served.processes.append((what, len(served.heard) - heard, len(served.asked) - asked))

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


def going(bundle: Path) -> Path:
    """Where the rows of a benchmark on this machine lie that is not finished."""
    return journal.going(journal.place(bundle, "local"))


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(path) if row["kind"] == kind]


def test_golden_cases_come_first_then_warm_up_then_what_counts(scripted, gguf_bundle, golden_cases):
    served = scripted(Scripted())
    found = benchmark(gguf_bundle, "local", EXTENT)
    assert served.replayed == (8, Limits("Q8_0", 0.5, 0.2, 8))
    assert len(rows(going(gguf_bundle), "request")) == found.latency["conditions"]["runs"] == 10
    plain = [case.token_ids for case in golden_cases if case.id.startswith("question")]
    assert served.in_turn[:2] == plain[:2] and served.in_turn[2:6] == plain[:4]  # the recipe's own questions
    assert {count for _, count in served.asked} == {6}  # an answer of the usual length
    assert found.latency["first_token_ms"] == {"p50": 100.0, "p90": 100.0, "p99": None}
    assert found.latency["decode_tok_s"]["p50"] == 100.0 and found.latency["evidence"] == "measured"
    assert found.latency["conditions"]["memory"] == "peak of a script"


def test_one_process_answers_the_golden_cases_and_a_fresh_one_the_requests(scripted, gguf_bundle):
    served = scripted(Scripted())
    benchmark(gguf_bundle, "local", EXTENT)
    assert served.processes == [("golden-cases", 8, 0), ("requests", 0, len(served.asked))]


def test_a_difference_ends_it_before_anything_is_timed(scripted, gguf_bundle):
    wrong = replace(SAME, difference="case system: token ids differ at position 3: expected 7, got 8")
    served = scripted(Scripted(parity=Parity([SAME, wrong])))
    with pytest.raises(IntegrityError, match=r"does not reproduce .* differ at position 3") as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert found.value.exit_code == 4 and served.asked == []
    again = scripted(Scripted())
    benchmark(gguf_bundle, "local", EXTENT)
    assert len(again.heard) == 8  # what a wrong device said is asked anew


def test_a_cut_replay_goes_on_with_the_next_case(scripted, gguf_bundle):
    first = scripted(Scripted(dies_at_case=5))
    with pytest.raises(DeviceError, match="connection was cut"):
        benchmark(gguf_bundle, "local", EXTENT)
    again = scripted(Scripted())
    benchmark(gguf_bundle, "local", EXTENT)
    assert (len(first.heard), len(again.heard)) == (5, 3) and not set(first.heard) & set(again.heard)


def test_a_cut_run_keeps_its_requests_and_the_next_one_goes_on(scripted, gguf_bundle):
    scripted(Scripted(dies_after=4))
    with pytest.raises(DeviceError, match="connection was cut") as cut:
        benchmark(gguf_bundle, "local", EXTENT)
    path = going(gguf_bundle)
    assert len(rows(path, "request")) == 4 and cut.value.hint.endswith(
        f"kept in {path}: 4 requests and 8 golden cases; the same command goes on with that"
    )
    again = scripted(Scripted())
    found = benchmark(gguf_bundle, "local", EXTENT)
    assert len(again.in_turn) == 2 + 6 + 1  # warm-up again, what was missing, and a last look
    assert (found.latency["conditions"]["runs"], found.latency["conditions"]["resumed_requests"]) == (10, 4)
    assert again.replayed and not again.heard and len(rows(path, "again")) == 1


def test_a_finished_run_is_measured_anew_and_its_rows_stay_until_then(scripted, gguf_bundle):
    scripted(Scripted())
    found = benchmark(gguf_bundle, "local", EXTENT)
    found.finish()
    kept = found.raw.read_bytes()
    again = scripted(Scripted())
    assert benchmark(gguf_bundle, "local", EXTENT).latency["conditions"]["resumed_requests"] is None
    assert len(again.in_turn) == 2 + 10 + 1 and found.raw.read_bytes() == kept


def test_a_run_whose_results_were_not_written_is_not_measured_again(scripted, gguf_bundle):
    """Bundle or report could not be written: everything is there, the sustained phase too."""
    extent = replace(EXTENT, load_s=0.3)
    scripted(Scripted())
    first = benchmark(gguf_bundle, "local", extent)
    before = rows(going(gguf_bundle), "request")
    again = scripted(Scripted())
    second = benchmark(gguf_bundle, "local", extent)
    assert rows(going(gguf_bundle), "request") == before and len(again.asked) == extent.warm_up
    assert {**second.latency["conditions"], "resumed_requests": None} == first.latency["conditions"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"busy_s": 50.0}, "other processes began to keep .* cores busy while the device was measured"),
        ({"governor": "powersave"}, "its governor was changed from performance to powersave"),
    ],
)
def test_what_disturbs_the_requests_ends_the_run_and_only_those_before_it_are_kept(
    change, said, scripted, gguf_bundle, monkeypatch
):
    """From the seventh look on: two before the runtime starts, then one with each request."""
    monkeypatch.setattr(load, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(load, "UNNOTICED", 100.0)
    quiet, count = _quiet(), itertools.count()

    def look(self: Any, pid: int | None = None) -> State:
        state = replace(quiet(self), governor="performance")
        return replace(state, **change) if next(count) >= 6 else state

    monkeypatch.setattr(watch.Watch, "look", look)
    scripted(Scripted())
    with pytest.raises(DeviceError, match=said) as ended:
        benchmark(gguf_bundle, "local", EXTENT)
    assert ended.value.exit_code == 3 and ": 3 requests and 8 golden cases;" in ended.value.hint
    monkeypatch.setattr(watch.Watch, "look", _quiet())
    scripted(Scripted())
    conditions = benchmark(gguf_bundle, "local", EXTENT).latency["conditions"]
    assert (conditions["runs"], conditions["resumed_requests"]) == (10, 3)


def test_whoever_says_anyway_is_not_stopped_by_others(scripted, gguf_bundle, monkeypatch):
    monkeypatch.setattr(load, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(watch.Watch, "look", _quiet(busy_cores=64.0))
    scripted(Scripted())
    conditions = benchmark(gguf_bundle, "local", EXTENT, anyway=True).latency["conditions"]
    assert "other processes kept 64.0 cores busy during the requests" in conditions["noisy"]


def test_another_governor_is_another_run(scripted, gguf_bundle, monkeypatch):
    governors = iter(("powersave", "performance"))
    facts = Local.facts
    monkeypatch.setattr(Local, "facts", lambda self: replace(facts(self), governor=next(governors)))
    scripted(Scripted(dies_after=4))
    with pytest.raises(DeviceError, match="connection was cut"):
        benchmark(gguf_bundle, "local", EXTENT)
    scripted(Scripted())
    assert benchmark(gguf_bundle, "local", EXTENT).latency["conditions"]["resumed_requests"] is None


@pytest.mark.parametrize("share", [0.05, 100.0])
def test_looks_are_taken_while_the_device_works(share, scripted, gguf_bundle, monkeypatch):
    """A device whose clock is high for as long as a request runs. Looking takes at least 10 of a request's 150 ms:
    where that is too much, the request does not count.
    """
    monkeypatch.setattr(load, "UNNOTICED", share)
    served, working, look = scripted(Scripted()), threading.Event(), _quiet()
    asking = served.ask

    def ask(ids: Sequence[int], new_tokens: int) -> Times:
        working.set()
        time.sleep(0.05)
        working.clear()
        return asking(ids, new_tokens)

    def clocked(self: Any, pid: int | None = None) -> State:
        time.sleep(0.01)
        return replace(look(self, pid), mhz=(2400.0 if working.wait(0.2) else 600.0,))

    served.ask = ask
    monkeypatch.setattr(watch.Watch, "look", clocked)
    monkeypatch.setattr(load, "LOOK_EVERY_S", 0.1)
    found = benchmark(gguf_bundle, "local", replace(EXTENT, load_s=0.4)).latency["conditions"]
    seen = [(row["phase"], row["mhz"]) for row in rows(going(gguf_bundle), "state")]
    assert {mhz[0] for phase, mhz in seen if phase != "before"} == {2400.0}
    assert len(seen) >= 6 and (found["clock_mhz_lowest"], found["noisy"]) == (2400, None)
    loaded, extra = len(seen) - 2, len(served.asked) - len(rows(going(gguf_bundle), "request")) - EXTENT.warm_up
    assert 2 <= extra < loaded if share > 1 else extra >= loaded  # each phase ends with a look of its own


def test_a_look_that_fails_ends_it(scripted, gguf_bundle, monkeypatch):
    look = _quiet()

    def cut(self: Any, pid: int | None = None) -> State:
        if rows(going(gguf_bundle), "request"):
            raise ConnectionCut("the connection was cut")
        return look(self, pid)

    scripted(Scripted())
    monkeypatch.setattr(watch.Watch, "look", cut)
    with pytest.raises(ConnectionCut):
        benchmark(gguf_bundle, "local", EXTENT)


def test_a_slow_device_is_not_asked_a_hundred_times(scripted, gguf_bundle):
    """Each request takes 150 ms by the runtime's clock: 1 s is over after the seventh."""
    scripted(Scripted())
    found = benchmark(gguf_bundle, "local", replace(EXTENT, seconds=1.0))
    assert found.latency["conditions"]["runs"] == 7
    found.finish()
    assert benchmark(gguf_bundle, "local", replace(EXTENT, seconds=0.1)).latency["conditions"]["runs"] == EXTENT.least


def test_the_sustained_phase_keeps_on_asking(scripted, gguf_bundle):
    scripted(Scripted())
    found = benchmark(gguf_bundle, "local", replace(EXTENT, load_s=0.5))
    phases = {row["phase"] for row in rows(going(gguf_bundle), "request")}
    assert phases == {"measured", "sustained"} and found.latency["conditions"]["sustained_share"] == 1.0
    assert found.latency["conditions"]["sustained_s"] > 0.2 and found.latency["conditions"]["runs"] == 10


def test_a_busy_device_is_not_measured(scripted, gguf_bundle, monkeypatch):
    monkeypatch.setattr(watch.Watch, "look", _quiet(busy_cores=64.0))
    monkeypatch.setattr(run, "QUIET_WAIT_S", 0.0)
    served = scripted(Scripted())
    with pytest.raises(DeviceError, match=r"other processes keep 64.0 of the device's \d+ cores busy") as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert found.value.exit_code == 3 and "nothing was measured" in found.value.hint and served.asked == []


def test_a_busy_device_is_refused_before_anything_is_sent(scripted, gguf_bundle, monkeypatch):
    monkeypatch.setattr(watch.Watch, "look", _quiet(busy_cores=64.0))
    monkeypatch.setattr(run, "QUIET_WAIT_S", 0.0)
    sent: list[Any] = []
    monkeypatch.setattr(setup.Setup, "push", sent.append)
    scripted(Scripted())
    with pytest.raises(DeviceError, match=r"other processes keep 64.0"):
        benchmark(gguf_bundle, "local", EXTENT)
    assert not sent


def test_llama_bench_is_the_last_and_what_it_cannot_do_is_no_fault(scripted, gguf_bundle, monkeypatch):
    """It is told a request that was measured, from which it knows how long it may take."""
    monkeypatch.setattr(setup.Setup, "push", lambda self: "pushed")
    told: list[Any] = []

    def peer(device: Any, pushed: Any, threads: Any, seen: Times) -> dict[str, Any]:
        told.append((pushed, seen.new_tokens, len(rows(going(gguf_bundle), "request"))))
        return {"skipped": "did not end in 95 s"}

    monkeypatch.setattr(llama, "bench", peer)
    scripted(Scripted())
    found = benchmark(gguf_bundle, "local", replace(EXTENT, load_s=1.2)).latency["conditions"]
    assert told[0][:2] == ("pushed", 6) and told[0][2] == len(rows(going(gguf_bundle), "request"))
    assert found["llama_bench_skipped"] == "did not end in 95 s" and found["llama_bench_after_load_s"] >= 1


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
    assert found.value.__notes__ == [
        f"kept in {going(gguf_bundle)}: 8 golden cases; the same command goes on with that"
    ]


def test_nothing_is_said_to_be_kept_where_nothing_is(scripted, gguf_bundle):
    served = scripted(Scripted())
    for fault in (KeyboardInterrupt(), DeviceError("the connection was cut", "try again")):
        served.replay = lambda *_, fault=fault: (_ for _ in ()).throw(fault)
        with pytest.raises(type(fault)) as found:
            benchmark(gguf_bundle, "local", EXTENT)
        assert not hasattr(found.value, "__notes__") and getattr(found.value, "hint", "try again") == "try again"


def test_a_quick_run_leaves_the_rows_of_a_full_one_alone(scripted, gguf_bundle):
    scripted(Scripted(dies_after=4))
    with pytest.raises(DeviceError, match="connection was cut"):
        benchmark(gguf_bundle, "local", EXTENT)
    scripted(Scripted())
    quick = benchmark(gguf_bundle, "local", replace(EXTENT, name="quick", is_quick=True))
    quick.finish()
    assert quick.raw.name == "local-quick.jsonl" and quick.latency["conditions"]["resumed_requests"] is None
    assert benchmark(gguf_bundle, "local", EXTENT).latency["conditions"]["resumed_requests"] == 4


def test_another_architecture_is_refused_before_a_runtime_is_built(gguf_bundle, monkeypatch):
    built: list[str] = []
    monkeypatch.setattr(setup, "_programs", lambda folder, manifest: built.append("it was"))
    manifest = bundle_manifest.read(gguf_bundle)
    other = manifest.target.model_copy(update={"triple": "riscv64-linux-musl", "title": "VisionFive 2"})
    bundle_manifest.write(gguf_bundle, manifest.model_copy(update={"target": other}))
    with pytest.raises(WrongArchitecture, match="the bundle is for VisionFive 2, riscv64") as found:
        benchmark(gguf_bundle, "local", EXTENT)
    assert found.value.exit_code == 3 and not built
