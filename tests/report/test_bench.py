"""What a report says of a run on the device, in all its forms, for figures written by hand."""

from __future__ import annotations

import click

from edgedistill.report import bench, html, markdown, terminal
from edgedistill.report.schema import CandidateLine, Latency, Report

FOUND = Latency.model_validate(
    {
        "first_token_ms": {"p50": 1212.0, "p90": 1250.5, "p99": 1399.9},
        "decode_tok_s": {"p50": 20.0, "p10": 18.18},
        "prefill_tok_s": 33.0,
        "token_ms": {"p50": 50.0, "p90": 55.0, "p99": 60.25},
        "prompt_token_ms": {"p50": 30.3, "p90": 31.26, "p99": 35.0},
        "evidence": "measured",
        "conditions": {
            "where": "ssh://pi@board", "runs": 100, "warm_up": 5, "extent": "full", "prompt_tokens": 40,
            "new_tokens": 21, "golden_cases": "24 reproduced, first token within 0.01 nats", "server": "llama-server",
            "sustained_share": 0.82, "sustained_s": 300.4, "llama_bench_pp512_tok_s": 33.5,
            "llama_bench_tg128_tok_s": 21.0, "temperature_c_first": 51.2, "temperature_c_highest": 84.9,
            "clock_mhz_lowest": 1500, "clock_mhz_median": 2400, "governor": "ondemand", "model": "Raspberry Pi 5",
            "throttled": "firmware: throttled after 140 s of load", "decode_tok_s_before_throttling": 20.1,
            "decode_tok_s_throttled": 12.5, "noisy": None, "threads": 4,
        },
    }
)  # fmt: skip


def report(latency: Latency | None) -> Report:
    line = CandidateLine(
        format="gguf", quant="Q4_0", file="m.gguf", bytes=10, sha256="0", tensor_types={}, bits_per_weight=4.5,
        latency=latency, chosen=True,
    )  # fmt: skip
    told = {"recipe": "r", "target": "rpi5", "build_id": "b", "started": "2026-11-21T10:15:00+00:00", "seconds": 1.0}
    return Report(**told, exit_code=0, stages=(), candidates=(line,))


def test_the_terminal_shows_percentiles_conditions_and_doubts():
    lines = [click.unstyle(line) for line in terminal.page(report(FOUND))]
    assert "  measured on ssh://pi@board: 100 requests after 5 to warm up, full" in lines
    assert "  first token    1,212  1,250  1,400  ms, prompts of 40 tokens" in lines
    assert "  written token     50     55   60.2  ms, 21 in each answer" in lines
    assert "  sustained    82% of the first seconds' speed after 300 s" in lines
    assert "  llama-bench  pp512 33.5 tok/s, tg128 21 tok/s" in lines
    assert "  temperature  51 to 85 °C" in lines and "  clock        1,500 to 2,400 MHz" in lines
    assert "  THROTTLED    firmware: throttled after 140 s of load; decode 20.1 tok/s before, 12.5 after" in lines
    assert not any("NOISY" in line for line in lines)


def test_markdown_and_html_say_the_same():
    text, page = markdown.page(report(FOUND), {}), html.page(report(FOUND), {})
    for said in ("On the device", "1,212", "THROTTLED", "ssh://pi@board", "24 reproduced"):
        assert said in text and said in page


def test_a_prediction_is_no_run_on_the_device():
    predicted = Latency(
        first_token_ms={"p50": 5, "low": 3, "high": 8},
        decode_tok_s={"p50": 7, "low": 4, "high": 9},
        evidence="predicted",
    )
    for latency in (None, predicted):
        assert bench.latency_of(report(latency)) is None
        assert "On the device" not in markdown.page(report(latency), {})
    assert "  ~ predicted, not measured on the device" in list(terminal.page(report(predicted)))
