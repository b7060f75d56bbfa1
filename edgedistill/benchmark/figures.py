"""From raw measurements to `latency` and `memory_mib` of the report, with the conditions that they were taken under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgedistill.benchmark import doubts, parts, watch
from edgedistill.benchmark.doubts import Throttling
from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.parts import Asked, Part
from edgedistill.devices.facts import Facts
from edgedistill.statistics import percentile, spread

FIRST_S, LAST_S = 10.0, 60.0
"""Of the load: the beginning and the end that are compared."""
_ENOUGH = 100
"""Requests for a 99th percentile: of fewer it would be the slowest one."""


def of_times(requests: Sequence[Asked]) -> dict[str, Any]:
    """Percentiles of what was measured. Per-token times are for reading a prompt and for writing an answer."""
    first = [one.times.prompt_ms for one in requests]
    token = [one.times.token_ms for one in requests]
    prompt = [one.times.prompt_token_ms for one in requests]
    return {
        "first_token_ms": _percentiles(first),
        "token_ms": _percentiles(token),
        "prompt_token_ms": _percentiles(prompt),
        # A tenth of the requests is slower than the tenth percentile of the speeds.
        "decode_tok_s": {
            "p50": round(1000 / percentile(token, 0.5), 2),
            "p10": round(1000 / percentile(token, 0.9), 2),
        },
        "prefill_tok_s": round(1000 / percentile(prompt, 0.5), 2),
    }


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    rounded = {p: round(percentile(values, p / 100), 4) for p in (50, 90, 99)}
    return {"p50": rounded[50], "p90": rounded[90], "p99": rounded[99] if len(values) >= _ENOUGH else None}


def latency_line(journal: Journal, facts: Facts, evidence: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`latency` of the report. `settings` go into the conditions: where, threads, context, runtime …"""
    run, replayed = parts.of(journal), journal.of("parity")[-1]
    slowed = doubts.throttling(run, "measured")
    counted, measured = slowed.larger, [one for part in run for one in part.asked("measured")]
    conditions = {
        **facts.conditions(settings["where"]),
        **settings,
        "server": replayed["runtime"],
        "memory": replayed["memory"],
        "runs": len(counted),
        "prompt_tokens": round(percentile([one.times.prompt_tokens for one in counted], 0.5)),
        "new_tokens": counted[0].times.new_tokens,
        "measured_s": round(sum(one.times.prompt_ms + one.times.decode_ms for one in measured) / 1000, 1),
        "first_token_spread": round(spread([one.times.prompt_ms for one in counted]), 3),
        "decode_spread": round(spread([one.decode_tok_s for one in counted]), 3),
        **_quiet(run, counted),
        **_throttled(slowed),
        **_sustained(run, slowed),
        "resumed_requests": journal.resumed or None,
        **{f"llama_bench_{name}": value for row in journal.of("peer") for name, value in row.items()},
    }
    return {**of_times(counted), "evidence": evidence, "conditions": conditions}


def _quiet(run: Sequence[Part], counted: Sequence[Asked]) -> dict[str, Any]:
    """Others' load, and the state of the device."""
    before = [state for part in run for state in part.states("before")]
    during = [state for part in run for state in part.states("measured")]
    loaded = [state for part in run for state in part.states("measured", "sustained")]
    found = doubts.others(run)
    return {
        "load_before": before[0].load if before else None,
        "others_busy_cores_before": _rounded(found.before, 2),
        "others_busy_cores_during": _rounded(found.during, 2),
        "stolen_cores": _rounded(found.stolen, 3),
        "noisy": "; ".join(doubts.noise(found, during, counted)) or None,
        **watch.summary(before, loaded),
    }


def _throttled(slowed: Throttling) -> dict[str, Any]:
    """That the measured requests were slowed down, which ones the figures are of, and medians before and since."""
    found: dict[str, Any] = {"throttled": slowed.because or None}
    if slowed.because:
        found["figures_of"] = slowed.larger_is
        for when, requests in (("before_throttling", slowed.before), ("throttled", slowed.since)):
            found[f"first_token_ms_{when}"] = _median([one.times.prompt_ms for one in requests])
            found[f"decode_tok_s_{when}"] = _median([one.decode_tok_s for one in requests])
    return found


def _sustained(run: Sequence[Part], slowed: Throttling) -> dict[str, Any]:
    """What became of the speed when the device was kept busy. Throttling that began there left the others clean."""
    found = doubts.throttling(run, "sustained")
    began = found.because if not slowed.because else ""
    part = next((part for part in run if part.asked("sustained")), None)  # in one piece, see load.py
    speeds = _ends(part) if part else None
    kept = part.asked("sustained")[-1].load_s if part else 0.0
    return {
        "sustained_share": round(speeds[1] / speeds[0], 4) if speeds else None,
        "sustained_decode_tok_s": _rounded(speeds[1], 2) if speeds else None,
        "sustained_s": round(kept, 1),
        "throttled_sustained": began or None,
        **({"decode_tok_s_throttled_sustained": _median([one.decode_tok_s for one in found.since])} if began else {}),
    }


def _ends(part: Part) -> tuple[float, float]:
    """Median decode speed in the first seconds of the load, and in its last minute."""
    kept = part.asked("sustained")
    every = [*part.asked("measured"), *kept]
    first = [one.decode_tok_s for one in every if one.load_s <= FIRST_S] or [every[0].decode_tok_s]
    last = [one.decode_tok_s for one in kept if one.load_s > kept[-1].load_s - LAST_S]
    return percentile(first, 0.5), percentile(last, 0.5)


def _median(values: Sequence[float]) -> float | None:
    return round(percentile(values, 0.5), 2) if values else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def memory_line(journal: Journal, evidence: str) -> dict[str, Any] | None:
    """`memory_mib` of the report: the most that the runtime's process ever had in RAM; None where nobody tells."""
    looks = [state for part in parts.of(journal) for state in part.states("measured", "sustained")]
    peaks = [state.peak_mib for state in looks if state.peak_mib]
    return {"peak": round(max(peaks), 1), "evidence": evidence} if peaks else None
