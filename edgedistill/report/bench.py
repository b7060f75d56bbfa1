"""What `bench` found on the device: percentiles, the conditions that they were taken under, and what to doubt."""

from __future__ import annotations

from typing import Any

from edgedistill.report import words
from edgedistill.report.schema import OnDevice, Parity, Report

TIMES_HEAD = ("time", "p50", "p90", "p99", "")


def runs(report: Report) -> list[OnDevice]:
    """The one that the figures are of, and a later one that does not replace it."""
    return [run for run in (report.benchmark, report.elsewhere) if run]


def title(run: OnDevice) -> str:
    """Heading of its section."""
    found = run.latency.conditions
    other = "On another device" if found.get("other_device") else "On the device"
    where = "On an emulated device" if run.evidence == "emulated" else other
    return f"{where}, quick run" if str(found["extent"]).startswith("quick") else where


def headline(report: Report, run: OnDevice) -> str:
    """`measured on ssh://pi@board on 2026-11-21: 100 requests after 5 to warm up, full`"""
    found = run.latency.conditions
    asked = f"{found['runs']} requests after {found['warm_up']} to warm up, {found['extent']}"
    stays = "; it changes no figure above" if run is report.elsewhere else ""
    return f"{run.evidence} on {run.where} on {run.when[:10]}: {asked}{stays}"


def times(run: OnDevice) -> list[tuple[str, ...]]:
    """First token, written token and prompt token, in the columns of TIMES_HEAD."""
    latency = run.latency
    found, first, token, prompt = (
        latency.conditions,
        latency.first_token_ms,
        latency.token_ms,
        latency.prompt_token_ms,
    )
    assert token and prompt
    return [
        ("first token", *_each(first.p50, first.p90, first.p99), f"ms, prompts of {found['prompt_tokens']} tokens"),
        ("written token", *_each(token.p50, token.p90, token.p99), f"ms, {found['new_tokens']} in each answer"),
        ("prompt token", *_each(prompt.p50, prompt.p90, prompt.p99), "ms"),
    ]


def _each(*values: float | None) -> tuple[str, ...]:
    return tuple("-" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in values)


def conditions(run: OnDevice) -> list[tuple[str, str]]:
    """Name and value of each that is known."""
    found, decode, memory = run.latency.conditions, run.latency.decode_tok_s, run.memory_mib
    rows = [
        ("golden cases", _parity(run.parity)),
        ("runtime", found.get("server")),
        ("decode", decode.p10 and f"{words.number(decode.p50)} tok/s, a tenth below {words.number(decode.p10)}"),
        ("sustained", _sustained(found)),
        ("llama-bench", _peer(found)),
        ("memory", memory and f"{words.number(memory.peak)} MiB, {found.get('memory') or 'at most'}"),
        ("device", ", ".join(str(found[name]) for name in ("model", "cpu", "kernel") if found.get(name))),
        ("threads", found.get("threads")),
        ("temperature", _ends(found, "temperature_c_first", "temperature_c_highest", "first {} °C, highest {} °C")),
        ("clock", _ends(found, "clock_mhz_lowest", "clock_mhz_median", "lowest {} MHz, median {} MHz")),
        ("governor", found.get("governor")),
        ("power", found.get("power")),
        ("not told", _not_told(found)),
        ("figures", found.get("throttled") and found.get("figures_of")),
        ("OTHER DEVICE", found.get("other_device")),
        ("THROTTLED", _throttled(found)),
        ("NOISY", found.get("noisy")),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _parity(found: Parity) -> str:
    """`24 pass, 23 to the last character; first token the likeliest in 24, within 0.012 nats`"""
    said = f"{found.cases} pass, {found.greedy_text} to the last character"
    if found.first_token_kl_max is not None:
        top = f" the likeliest in {found.top1}," if found.top1 is not None else ""
        said += f"; first token{top} within {found.first_token_kl_max:.2g} nats"
    return f"{said}; answers {found.answer_kl_mean:.2g} nats on average" if found.answer_kl_mean is not None else said


def _sustained(found: dict[str, Any]) -> str:
    share = found.get("sustained_share")
    if not share:
        return ""
    speed = found.get("sustained_decode_tok_s")
    told = f", {words.number(speed)} tok/s" if speed else ""
    slowed = f"; {found['throttled_sustained']}" if found.get("throttled_sustained") else ""
    return f"{share:.0%} of the first seconds' speed after {found['sustained_s']:,.0f} s{told}{slowed}"


def _peer(found: dict[str, Any]) -> str:
    if found.get("llama_bench_skipped"):
        return str(found["llama_bench_skipped"])
    pp, tg, after = (found.get(f"llama_bench_{name}") for name in ("pp512_tok_s", "tg128_tok_s", "after_load_s"))
    if not (pp and tg):
        return ""
    hot = f", after {after:,.0f} s of load" if after else ""
    return f"pp512 {words.number(pp)} tok/s, tg128 {words.number(tg)} tok/s{hot}"


def _ends(found: dict[str, Any], one: str, other: str, said: str) -> str:
    ends = found.get(one), found.get(other)
    return said.format(*(f"{end:,.0f}" for end in ends)) if ends[0] and ends[1] else ""


def _not_told(found: dict[str, Any]) -> str:
    """`by the device: temperature, clock`"""
    told = {"temperature": "temperature_c_first", "clock": "clock_mhz_median"}
    missing = [name for name in ("temperature", "clock", "governor", "power") if not found.get(told.get(name, name))]
    return f"by the device: {', '.join(missing)}" if missing else ""


def _throttled(found: dict[str, Any]) -> str:
    if not found.get("throttled"):
        return ""
    before, after = found.get("decode_tok_s_before_throttling"), found.get("decode_tok_s_throttled")
    speeds = f"; decode {words.number(before)} tok/s before, {words.number(after)} after" if before and after else ""
    return f"{found['throttled']}{speeds}"
