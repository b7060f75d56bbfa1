"""What `bench` found on the device: percentiles, the conditions that they were taken under, and what to doubt."""

from __future__ import annotations

from typing import Any

from edgedistill.report import words
from edgedistill.report.schema import Latency, Memory, Percentiles, Report

TIMES_HEAD = ("time", "p50", "p90", "p99", "")


def latency_of(report: Report) -> Latency | None:
    """The chosen candidate's, where it was taken by requests on the device."""
    found = report.chosen.latency if report.chosen else None
    return found if found and found.token_ms else None


def headline(latency: Latency) -> str:
    """`measured on ssh://pi@board: 100 requests after 5 to warm up, full`"""
    found = latency.conditions
    asked = f"{found['runs']} requests after {found['warm_up']} to warm up, {found['extent']}"
    return f"{latency.evidence} on {found['where']}: {asked}"


def times(latency: Latency) -> list[tuple[str, ...]]:
    """First token, written token and prompt token, in the columns of TIMES_HEAD."""
    found, first = latency.conditions, latency.first_token_ms
    assert latency.token_ms and latency.prompt_token_ms and first.p90 is not None and first.p99 is not None
    whole = Percentiles(p50=first.p50, p90=first.p90, p99=first.p99)
    return [
        ("first token", *_three(whole), f"ms, prompts of {found['prompt_tokens']} tokens"),
        ("written token", *_three(latency.token_ms), f"ms, {found['new_tokens']} in each answer"),
        ("prompt token", *_three(latency.prompt_token_ms), "ms"),
    ]


def _three(found: Percentiles) -> tuple[str, str, str]:
    p50, p90, p99 = (f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in (found.p50, found.p90, found.p99))
    return p50, p90, p99


def conditions(latency: Latency, memory: Memory | None) -> list[tuple[str, str]]:
    """Name and value of each that is known."""
    found, decode = latency.conditions, latency.decode_tok_s
    rows = [
        ("golden cases", found.get("golden_cases")),
        ("runtime", found.get("server")),
        ("decode", decode.p10 and f"{words.number(decode.p50)} tok/s, a tenth below {words.number(decode.p10)}"),
        ("sustained", _sustained(found)),
        ("llama-bench", _peer(found)),
        ("memory", memory and f"{words.number(memory.peak)} MiB at most"),
        ("device", ", ".join(str(found[name]) for name in ("model", "cpu", "kernel") if found.get(name))),
        ("threads", found.get("threads")),
        ("temperature", _range(found, "temperature_c_first", "temperature_c_highest", "°C")),
        ("clock", _range(found, "clock_mhz_lowest", "clock_mhz_median", "MHz")),
        ("governor", found.get("governor")),
        ("power", found.get("power")),
        ("THROTTLED", _throttled(found)),
        ("NOISY", found.get("noisy")),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _sustained(found: dict[str, Any]) -> str:
    share = found.get("sustained_share")
    return f"{share:.0%} of the first seconds' speed after {found['sustained_s']:,.0f} s" if share else ""


def _peer(found: dict[str, Any]) -> str:
    pp, tg = found.get("llama_bench_pp512_tok_s"), found.get("llama_bench_tg128_tok_s")
    return f"pp512 {words.number(pp)} tok/s, tg128 {words.number(tg)} tok/s" if pp and tg else ""


def _range(found: dict[str, Any], low: str, high: str, unit: str) -> str:
    ends = found.get(low), found.get(high)
    return f"{ends[0]:,.0f} to {ends[1]:,.0f} {unit}" if ends[0] and ends[1] else ""


def _throttled(found: dict[str, Any]) -> str:
    before, after = found.get("decode_tok_s_before_throttling"), found.get("decode_tok_s_throttled")
    speeds = f"; decode {words.number(before)} tok/s before, {words.number(after)} after" if before and after else ""
    return f"{found['throttled']}{speeds}" if found.get("throttled") else ""
