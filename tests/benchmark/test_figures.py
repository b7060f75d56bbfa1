"""Percentiles, throttling and noise from rows written by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgedistill.benchmark import figures
from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.parts import Asked
from edgedistill.benchmark.served import Times
from edgedistill.benchmark.watch import State
from edgedistill.devices.facts import Facts

FACTS = Facts(machine="aarch64", model="Raspberry Pi 5", cpu="4x Cortex-A76", cores=4, ram_bytes=8 << 30)
SETTINGS = {"where": "ssh://pi@board", "threads": 4, "context": 1024, "warm_up": 5, "extent": "full"}


def request(number: int, token_ms: float = 50.0, phase: str = "measured", load_s: float | None = None) -> dict:
    """A prompt of 40 tokens in 100 + number ms, then 11 tokens, of which 10 were decoded."""
    times = Times(40, 100.0 + number, 11, 10 * token_ms)
    return {"phase": phase, "load_s": float(number) if load_s is None else load_s, **asdict(times)}


def look(up_s: float, **what) -> dict:
    """A quiet device: the server uses all four cores, nobody else any."""
    plain = State(up_s=up_s, busy_s=4 * up_s, steal_s=0.0, server_s=4 * up_s, load=0.1, peak_mib=500.0 + up_s)
    return {"phase": "measured", "load_s": up_s, **asdict(replace(plain, **what))}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A quiet run of 101 requests."""
    made = Journal(tmp_path / "run.jsonl", {})
    for up_s in (0.0, 1.0):
        made.add("state", **{**look(up_s, busy_s=0.02 * up_s, server_s=None, peak_mib=None), "phase": "before"})
    made.add("parity", runtime="llama-server b1", memory="peak of llama-server", cases=24)
    measure(made)
    made.add("peer", after_load_s=300, pp512_tok_s=33.0, tg128_tok_s=21.0)
    return made


def line(journal: Journal) -> dict:
    return figures.latency_line(journal, FACTS, "measured", SETTINGS)


def test_percentiles_of_101_requests_by_hand(journal):
    """First tokens are 100, 101 ... 200 ms: the 50th, 90th and 99th percentiles are 150, 190 and 199."""
    found = line(journal)
    assert found["first_token_ms"] == {"p50": 150.0, "p90": 190.0, "p99": 199.0}
    assert found["prompt_token_ms"] == {"p50": 3.75, "p90": 4.75, "p99": 4.975}  # a fortieth
    assert found["token_ms"] == {"p50": 50.0, "p90": 50.0, "p99": 50.0}
    assert found["decode_tok_s"] == {"p50": 20.0, "p10": 20.0}
    assert found["prefill_tok_s"] == pytest.approx(1000 / 3.75, abs=0.01)


def test_a_99th_percentile_takes_a_hundred_requests(journal):
    for number in (100, 99):
        del journal.rows[next(at for at, row in enumerate(journal.rows) if row.get("load_s") == number)]
        expected = pytest.approx(100 + 0.99 * 99) if number == 100 else None
        assert line(journal)["first_token_ms"]["p99"] == expected and line(journal)["first_token_ms"]["p90"] > 180


def test_the_slow_tenth_of_the_decode_speeds():
    """Of 11 requests with 10, 20 ... 110 ms per token nine tenths take 100 ms or less: 10 tokens per second."""
    requests = [Asked("measured", 0.0, Times(40, 100.0, 11, 10 * 10.0 * number)) for number in range(1, 12)]
    assert figures.of_times(requests)["decode_tok_s"] == {"p50": 16.67, "p10": 10.0}


def test_the_conditions_say_where_how_many_and_how(journal):
    found = line(journal)["conditions"]
    assert (found["where"], found["machine"], found["cpu"], found["ram_mib"]) == (
        "ssh://pi@board", "aarch64", "4x Cortex-A76", 8192,
    )  # fmt: skip
    assert (found["runs"], found["warm_up"], found["prompt_tokens"], found["new_tokens"]) == (101, 5, 40, 11)
    assert (found["noisy"], found["throttled"], found["server"]) == (None, None, "llama-server b1")
    assert found["memory"] == "peak of llama-server" and found["llama_bench_after_load_s"] == 300
    assert (found["llama_bench_pp512_tok_s"], found["llama_bench_tg128_tok_s"]) == (33.0, 21.0)
    assert found["others_busy_cores_before"] == 0.02 and found["others_busy_cores_during"] == 0.0
    assert found["resumed_requests"] is None and found["sustained_share"] is None


def test_every_condition_is_a_plain_value_of_the_reports_schema(journal):
    from edgedistill.report.schema import Latency

    assert Latency.model_validate(line(journal)).token_ms.p99 == 50.0


def measure(journal: Journal, slow_from: int = 10**6, *, part: float = 0.0, looks: dict | None = None) -> None:
    """101 requests, half as fast from one on, and after every tenth a look, which shows `looks` from there on."""
    for number in range(101):
        journal.add("request", **request(number, 100.0 if number >= slow_from else 50.0))
        if number % 10 == 0:
            told = looks if looks and number >= slow_from else {}
            journal.add("state", **{**look(part + 10.0 + number, **told), "load_s": float(number)})


def begin_again(journal: Journal, up_s: float, **before) -> None:
    """What a run that was cut leaves behind when it goes on."""
    journal.add("again")
    for later in (0.0, 1.0):
        journal.add("state", **{**look(up_s + later, server_s=None, busy_s=0.0, **before), "phase": "before"})


def test_a_throttled_run_is_marked_and_its_larger_part_counts(journal):
    """At the look after request 60 the firmware says so; the requests from there on decode at half the speed. Those
    since the look after request 50 are of neither part.
    """
    journal.drop(phase="measured")
    measure(journal, 60, looks={"firmware": 4})
    found = line(journal)
    told = found["conditions"]
    assert told["throttled"] == "firmware: throttled after 60 s of load" and told["throttled_sustained"] is None
    assert (told["figures_of"], told["runs"]) == ("the 51 requests before it throttled", 51)
    assert (told["decode_tok_s_before_throttling"], told["decode_tok_s_throttled"]) == (20.0, 10.0)
    assert (told["first_token_ms_before_throttling"], told["first_token_ms_throttled"]) == (125.0, 180.5)
    assert found["decode_tok_s"] == {"p50": 20.0, "p10": 20.0} and found["first_token_ms"]["p50"] == 125.0


def test_figures_are_of_the_throttled_part_where_that_is_larger(journal):
    journal.drop(phase="measured")
    measure(journal, 20, looks={"throttles": {"CPU's own throttling": 1}})
    found = line(journal)
    assert found["conditions"]["figures_of"] == "the 80 requests since it throttled"
    assert found["decode_tok_s"]["p50"] == found["conditions"]["decode_tok_s_throttled"] == 10.0


def test_a_device_that_was_slowed_down_all_along_is_throttled(journal):
    """Its cooling holds the clock down already before the runtime is started, and never more or less than that."""
    cooling = {"slowed": {"cooling by thermal-cpufreq-0": 2}}
    journal.rows = [row | cooling if row["kind"] == "state" else row for row in journal.rows]
    found = line(journal)["conditions"]
    assert found["throttled"] == "cooling by thermal-cpufreq-0 after 0 s of load"
    assert (found["decode_tok_s_before_throttling"], found["decode_tok_s_throttled"]) == (None, 20.0)


def test_throttling_that_begins_in_the_sustained_phase_leaves_the_measured_minute_clean(journal):
    for second in range(101, 301):
        journal.add("request", **request(second, 50.0 if second <= 200 else 100.0, "sustained"))
        if second % 50 == 0:
            state = look(10.0 + second, firmware=4 if second >= 200 else 0)
            journal.add("state", **{**state, "phase": "sustained", "load_s": float(second)})
    found = line(journal)
    told = found["conditions"]
    assert told["throttled"] is None and told["throttled_sustained"] == "firmware: throttled after 200 s of load"
    assert told["decode_tok_s_throttled_sustained"] == 10.0 and "figures_of" not in told
    assert (told["runs"], found["decode_tok_s"]["p50"]) == (101, 20.0)


def test_throttling_before_a_cut_is_not_forgotten_after_it(journal):
    """The counts that the first part ended with are those that the second part begins with."""
    journal.drop(phase="measured")
    hot = {"throttles": {"CPU's own throttling": 9}, "firmware": 0x40000}
    measure(journal, 60, looks=hot)
    begin_again(journal, 1000.0, **hot)
    measure(journal, part=1000.0)
    found = line(journal)["conditions"]
    assert found["throttled"] == "firmware: throttled, CPU's own throttling after 60 s of load"
    assert (found["figures_of"], found["runs"]) == ("the 152 requests before it throttled", 152)


def test_noise_before_a_cut_is_not_forgotten_after_it(journal):
    journal.rows = [row | {"busy_s": 9.0 * row["up_s"]} if row["kind"] == "state" else row for row in journal.rows]
    begin_again(journal, 1000.0)
    measure(journal, part=1000.0)
    assert line(journal)["conditions"]["noisy"] == (
        "other processes kept 9.0 cores busy before the requests; "
        "other processes kept 5.0 cores busy during the requests"
    )


def test_looks_on_both_sides_of_a_cut_are_not_compared(journal):
    """In the hours between others worked on the device, and the new server has used more time than the old one."""
    begin_again(journal, 20000.0)
    for up_s in (20010.0, 20020.0):
        journal.add("state", **look(up_s, busy_s=9 * up_s, server_s=9 * up_s, steal_s=5000.0))
    journal.add("request", **request(101))
    found = line(journal)["conditions"]
    assert found["noisy"] is None and found["stolen_cores"] == 0.0 and found["others_busy_cores_during"] == 0.0


def test_a_start_that_measured_nothing_tells_nothing(journal):
    begin_again(journal, 1000.0)
    for up_s in (2000.0, 2010.0):
        journal.add("state", **look(up_s, busy_s=9 * up_s, firmware=4, peak_mib=9000.0))
    assert line(journal)["conditions"]["throttled"] is line(journal)["conditions"]["noisy"] is None
    assert figures.memory_line(journal, "measured") == {"peak": 610.0, "evidence": "measured"}


def test_what_nobody_looked_at_is_not_known(journal):
    """All requests were over within a moment."""
    journal.rows = [row | {"up_s": 5.0} if row["kind"] == "state" else row for row in journal.rows]
    found = line(journal)["conditions"]
    assert found["others_busy_cores_before"] is found["others_busy_cores_during"] is found["stolen_cores"] is None


def test_another_process_during_the_requests_is_noise(journal):
    journal.rows = [row for row in journal.rows if row["kind"] != "state" or row["phase"] == "before"]
    for up_s in (10.0, 20.0, 30.0):
        journal.add("state", **look(up_s, busy_s=4 * up_s + 1.5 * up_s))
    assert line(journal)["conditions"]["noisy"] == "other processes kept 1.5 cores busy during the requests"


def test_another_process_before_the_requests_is_noise(journal):
    journal.rows = [
        row | {"busy_s": 0.8 * row["up_s"]} if row.get("phase") == "before" else row for row in journal.rows
    ]
    assert line(journal)["conditions"]["noisy"] == "other processes kept 0.8 cores busy before the requests"


def test_stolen_time_a_changing_clock_and_a_wide_spread_are_noise(journal):
    journal.drop(phase="measured")
    for up_s, mhz in ((10.0, 2400.0), (20.0, 1800.0)):
        journal.add("state", **look(up_s, steal_s=0.1 * up_s, mhz=(mhz,)))
    for number in range(100):
        journal.add("request", **request(number, 50.0 if number % 2 else 100.0))
    assert line(journal)["conditions"]["noisy"] == (
        "the host took 0.10 cores for other guests; clock between 1,800 and 2,400 MHz; "
        "decode speeds spread over 67% of the median"
    )


def test_an_idle_clock_is_no_slow_one(journal):
    clock = {"before": 600.0, "measured": 2400.0}
    journal.rows = [row | {"mhz": [clock[row["phase"]]]} if row["kind"] == "state" else row for row in journal.rows]
    found = line(journal)["conditions"]
    assert (found["clock_mhz_lowest"], found["clock_mhz_median"], found["noisy"]) == (2400, 2400, None)


def test_the_sustained_share_compares_the_last_minute_with_the_first_seconds(journal):
    """20 tokens per second at first; 16 in the last minute, which begins 240 s after the load did."""
    for second in range(101, 301):
        journal.add("request", **request(second, 50.0 if second <= 240 else 62.5, "sustained"))
    found = line(journal)
    told = found["conditions"]
    assert (told["sustained_share"], told["sustained_decode_tok_s"], told["sustained_s"]) == (0.8, 16.0, 300.0)
    assert found["decode_tok_s"]["p50"] == 20.0  # of the measured requests alone


def test_the_sustained_share_is_of_one_part(journal):
    """Before the cut the device was twice as fast: what counts are the first seconds of the load that was kept up."""
    begin_again(journal, 1000.0)
    for second in range(301):
        journal.add("request", **request(second, 100.0 if second <= 240 else 125.0, "sustained"))
    assert line(journal)["conditions"]["sustained_share"] == 0.8


def test_memory_is_the_most_that_any_look_saw(journal):
    assert figures.memory_line(journal, "measured") == {"peak": 610.0, "evidence": "measured"}
