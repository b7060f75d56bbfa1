"""Percentiles, throttling and noise from rows written by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgedistill.benchmark import figures
from edgedistill.benchmark.journal import Journal
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
    made.add("parity", runtime="llama-server b1", cases=24, first_token_kl_max=0.0123)
    for number in range(101):
        made.add("request", **request(number))
        if number % 10 == 0:
            made.add("state", **look(10.0 + number))
    made.add("peer", pp512_tok_s=33.0, tg128_tok_s=21.0)
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


def test_the_slow_tenth_of_the_decode_speeds(tmp_path):
    """Of 11 requests with 10, 20 ... 110 ms per token nine tenths take 100 ms or less: 10 tokens per second."""
    requests = [figures.Asked("measured", 0.0, Times(40, 100.0, 11, 10 * 10.0 * number)) for number in range(1, 12)]
    assert figures.of_times(requests)["decode_tok_s"] == {"p50": 16.67, "p10": 10.0}


def test_the_conditions_say_where_how_many_and_how(journal):
    found = line(journal)["conditions"]
    assert (found["where"], found["machine"], found["cpu"], found["ram_mib"]) == (
        "ssh://pi@board", "aarch64", "4x Cortex-A76", 8192,
    )  # fmt: skip
    assert (found["runs"], found["warm_up"], found["prompt_tokens"], found["new_tokens"]) == (101, 5, 40, 11)
    assert (found["noisy"], found["throttled"], found["server"]) == (None, None, "llama-server b1")
    assert found["golden_cases"] == "24 reproduced, first token within 0.012 nats"
    assert (found["llama_bench_pp512_tok_s"], found["llama_bench_tg128_tok_s"]) == (33.0, 21.0)
    assert found["others_busy_cores_before"] == 0.02 and found["others_busy_cores_during"] == 0.0
    assert found["resumed_requests"] is None and found["sustained_share"] is None


def test_every_condition_is_a_plain_value_of_the_reports_schema(journal):
    from edgedistill.report.schema import Latency

    assert Latency.model_validate(line(journal)).token_ms.p99 == 50.0


def test_a_throttled_run_is_marked_and_both_speeds_are_told(journal):
    """From the look at 60 s of load on the firmware says so; the requests after it decode at half the speed."""
    journal.drop("request", phase="measured")
    journal.drop("state", phase="measured")
    for number in range(101):
        journal.add("request", **request(number, 50.0 if number <= 60 else 100.0))
        if number % 10 == 0:
            journal.add("state", **{**look(10.0 + number, firmware=4 if number >= 60 else 0), "load_s": float(number)})
    found = line(journal)["conditions"]
    assert found["throttled"] == "firmware: throttled after 60 s of load"
    assert (found["decode_tok_s_before_throttling"], found["decode_tok_s_throttled"]) == (20.0, 10.0)


def test_another_process_during_the_requests_is_noise(journal):
    journal.drop("state", phase="measured")
    for up_s in (10.0, 20.0, 30.0):
        journal.add("state", **look(up_s, busy_s=4 * up_s + 1.5 * up_s))
    assert line(journal)["conditions"]["noisy"] == "other processes kept 1.5 cores busy during the requests"


def test_another_process_before_the_requests_is_noise(journal):
    journal.drop("state", phase="before")
    for up_s in (0.0, 1.0):
        journal.add("state", **{**look(up_s, busy_s=0.8 * up_s, server_s=None), "phase": "before"})
    assert line(journal)["conditions"]["noisy"] == "other processes kept 0.8 cores busy before the requests"


def test_stolen_time_a_changing_clock_and_a_wide_spread_are_noise(journal):
    journal.drop("state", phase="measured")
    for up_s, mhz in ((10.0, 2400.0), (20.0, 1800.0)):
        journal.add("state", **look(up_s, steal_s=0.1 * up_s, mhz=(mhz,)))
    journal.drop("request", phase="measured")
    for number in range(100):
        journal.add("request", **request(number, 50.0 if number % 2 else 100.0))
    assert line(journal)["conditions"]["noisy"] == (
        "the host took 0.10 cores for other guests; clock between 1,800 and 2,400 MHz; "
        "decode speeds spread over 67% of the median"
    )


def test_the_sustained_share_compares_the_last_minute_with_the_first_seconds(journal):
    """20 tokens per second at first; 16 in the last minute, which begins 240 s after the load did."""
    for second in range(101, 301):
        journal.add("request", **request(second, 50.0 if second <= 240 else 62.5, "sustained"))
    found = line(journal)
    assert found["conditions"]["sustained_share"] == 0.8 and found["conditions"]["sustained_s"] == 300.0
    assert found["decode_tok_s"]["p50"] == 20.0  # of the measured requests alone


def test_memory_is_the_most_that_any_look_saw(journal):
    assert figures.memory_line(journal, "measured") == {"peak": 610.0, "evidence": "measured"}
