"""What a report says of a run on the device, in all its forms, for figures written by hand."""

from __future__ import annotations

from typing import Any

import click
import pytest

from edgedistill.report import bench, html, markdown, terminal
from edgedistill.report.schema import CandidateLine, OnDevice, Report

CONDITIONS: dict[str, Any] = {
    "where": "ssh://pi@board", "runs": 100, "warm_up": 5, "extent": "full", "prompt_tokens": 40,
    "new_tokens": 21, "server": "llama-server b1", "sustained_share": 0.82, "sustained_s": 300.4,
    "sustained_decode_tok_s": 16.4, "llama_bench_pp512_tok_s": 33.5, "llama_bench_tg128_tok_s": 21.0,
    "temperature_c_first": 51.2, "temperature_c_highest": 84.9, "clock_mhz_lowest": 1500, "clock_mhz_median": 2400,
    "governor": "ondemand", "model": "Raspberry Pi 5", "noisy": None, "threads": 4,
    "throttled": "firmware: throttled after 140 s of load", "decode_tok_s_before_throttling": 20.1,
    "decode_tok_s_throttled": 12.5, "figures_of": "the 61 requests before it throttled",
}  # fmt: skip
PARITY = {
    "cases": 24, "prompt_text": 24, "token_ids": 24, "first_token_kl_max": 0.012, "top1": 24, "top_k": 1.0,
    "answer_kl_mean": 0.0031, "greedy_text": 23, "passed": True,
}  # fmt: skip


def run(evidence: str = "measured", where: str = "ssh://pi@board", **conditions: Any) -> OnDevice:
    return OnDevice.model_validate(
        {
            "when": "2026-11-21T10:15:00+00:00",
            "where": where,
            "evidence": evidence,
            "parity": PARITY,
            "latency": {
                "first_token_ms": {"p50": 1212.0, "p90": 1250.5, "p99": 1399.9},
                "decode_tok_s": {"p50": 20.0, "p10": 18.18},
                "prefill_tok_s": 33.0,
                "token_ms": {"p50": 50.0, "p90": 55.0, "p99": 60.25},
                "prompt_token_ms": {"p50": 30.3, "p90": 31.26, "p99": None},
                "evidence": evidence,
                "conditions": {**CONDITIONS, **conditions},
            },
            "memory_mib": {"peak": 512.0, "evidence": evidence},
        }
    )


def report(benchmark: OnDevice | None, elsewhere: OnDevice | None = None) -> Report:
    line = CandidateLine(
        format="gguf", quant="Q4_0", file="m.gguf", bytes=10, sha256="0", tensor_types={}, bits_per_weight=4.5,
        latency=benchmark.latency if benchmark else None, chosen=True,
    )  # fmt: skip
    told = {"recipe": "r", "target": "rpi5", "build_id": "b", "started": "2026-11-21T10:15:00+00:00", "seconds": 1.0}
    return Report(**told, exit_code=0, stages=(), candidates=(line,), benchmark=benchmark, elsewhere=elsewhere)


def said(made: Report) -> list[str]:
    return [click.unstyle(line) for line in terminal.page(made)]


def test_the_terminal_shows_percentiles_conditions_and_doubts():
    lines = said(report(run()))
    assert "  measured on ssh://pi@board on 2026-11-21: 100 requests after 5 to warm up, full" in lines
    assert "  first token    1,212  1,250  1,400  ms, prompts of 40 tokens" in lines
    assert "  written token     50     55   60.2  ms, 21 in each answer" in lines
    assert "  prompt token    30.3   31.3      -  ms" in lines, "no 99th percentile of fewer than 100"
    assert "  sustained    82% of the first seconds' speed after 300 s, 16.4 tok/s" in lines
    assert "  llama-bench  pp512 33.5 tok/s, tg128 21 tok/s" in lines
    assert "  temperature  first 51 °C, highest 85 °C" in lines
    assert "  clock        lowest 1,500 MHz, median 2,400 MHz" in lines
    assert "  figures      the 61 requests before it throttled" in lines
    assert "  THROTTLED    firmware: throttled after 140 s of load; decode 20.1 tok/s before, 12.5 after" in lines
    assert not any("NOISY" in line or "OTHER" in line for line in lines)


def test_parity_on_the_device_is_told_before_speed():
    told = "24 pass, 23 to the last character; first token the likeliest in 24, within 0.012 nats"
    assert f"  golden cases {told}; answers 0.0031 nats on average" in said(report(run()))


@pytest.mark.parametrize(
    ("conditions", "line"),
    [
        ({"other_device": "4x Cortex-A55"}, "  OTHER DEVICE 4x Cortex-A55"),
        ({"noisy": "others"}, "  NOISY        others"),
        ({"llama_bench_skipped": "did not end in 95 s"}, "  llama-bench  did not end in 95 s"),
        ({"llama_bench_after_load_s": 300.0}, "  llama-bench  pp512 33.5 tok/s, tg128 21 tok/s, after 300 s of load"),
        (
            {"throttled": None, "throttled_sustained": "cooling after 200 s of load"},
            "  sustained    82% of the first seconds' speed after 300 s, 16.4 tok/s; cooling after 200 s of load",
        ),
        ({"memory": "peak while it answers"}, "  memory       512 MiB, peak while it answers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_condition_is_told_where_it_is_known(conditions, line):
    assert line in said(report(run(**conditions)))


def test_markdown_and_html_say_the_same():
    text, page = markdown.page(report(run()), {}), html.page(report(run()), {})
    for words in ("On the device", "1,212", "THROTTLED", "ssh://pi@board", "24 pass, 23"):
        assert words in text and words in page


def test_an_emulated_run_after_a_measured_one_is_shown_as_what_it_is():
    made = report(run(), run("emulated", "qemu://cortex-a76", server="llama-server b2"))
    lines = said(made)
    heads = [line for line in lines if "requests after" in line]
    assert [head.split(" on 2026")[0].strip() for head in heads] == [
        "measured on ssh://pi@board",
        "emulated on qemu://cortex-a76",
    ]
    assert "  runtime      llama-server b2" in lines
    for page in (markdown.page(made, {}), html.page(made, {})):
        assert "On the device" in page and "On an emulated device" in page and "qemu://cortex-a76" in page


def test_a_quick_run_after_a_full_one_is_shown_as_what_it_is():
    quick = run(runs=20, warm_up=2, extent="quick: fewer than 100 requests, no sustained phase")
    made = report(run(), quick)
    told = "20 requests after 2 to warm up, quick: fewer than 100 requests, no sustained phase"
    line = f"measured on ssh://pi@board on 2026-11-21: {told}; it changes no figure above"
    assert f"  {line}" in said(made)
    for page in (markdown.page(made, {}), html.page(made, {})):
        assert "On the device, quick run" in page and f"{line}." in page
        assert page.count("it changes no figure above") == 1
    assert bench.headline(report(quick), quick).endswith("no sustained phase"), "there is none that it could replace"


def test_what_the_device_does_not_tell_is_named():
    silent = run(temperature_c_first=None, temperature_c_highest=None, clock_mhz_lowest=None, clock_mhz_median=None)
    assert ("not told", "by the device: temperature, clock, power") in bench.conditions(silent)
    names = [name for name, _ in bench.conditions(run(power="AC online"))]
    assert "not told" not in names and "power" in names


def test_another_devices_run_has_a_heading_of_its_own():
    """4x Cortex-A55 is not what the target is."""
    assert [bench.title(one) for one in (run(), run("emulated"), run(other_device="4x Cortex-A55"))] == [
        "On the device",
        "On an emulated device",
        "On another device",
    ]


def test_a_report_without_a_run_shows_none():
    for words in (markdown.page(report(None), {}), html.page(report(None), {}), "\n".join(said(report(None)))):
        assert "device</h2>" not in words and "On the device" not in words
    assert bench.runs(report(None)) == []
