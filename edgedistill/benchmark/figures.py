"""From raw measurements to `latency` and `memory_mib` of the report, with the conditions that they were taken under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.benchmark import watch
from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.served import Times
from edgedistill.benchmark.watch import State
from edgedistill.devices.facts import Facts
from edgedistill.latency import BUSY_CORES, SPREAD
from edgedistill.statistics import percentile, spread

FIRST_S, LAST_S = 10.0, 60.0
"""Of the load: the beginning and the end that are compared."""


@dataclass(frozen=True)
class Asked:
    """A request with when it was made."""

    phase: str
    """`measured` or `sustained`"""
    load_s: float
    """Since the device was first kept busy in its run, at the request's end."""
    times: Times

    @property
    def decode_tok_s(self) -> float:
        return 1000 / self.times.token_ms


def asked(journal: Journal) -> list[Asked]:
    """The requests of a journal, in order."""
    return [
        Asked(row["phase"], row["load_s"], Times(**{name: row[name] for name in Times.__dataclass_fields__}))
        for row in journal.of("request")
    ]


def states(journal: Journal, phase: str | None = None) -> list[State]:
    """The looks at the device; of one phase only, or of all."""
    rows = [row for row in journal.of("state") if phase is None or row["phase"] == phase]
    known = State.__dataclass_fields__
    return [State(**{**{name: row[name] for name in known}, "mhz": tuple(row["mhz"])}) for row in rows]


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


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(percentile(values, p / 100), 4) for p in (50, 90, 99)}


def sustained_share(requests: Sequence[Asked]) -> float | None:
    """Decode speed in the last minute of the load over that of its first seconds; None without a sustained phase."""
    kept = [one for one in requests if one.phase == "sustained"]
    if not kept:
        return None
    end = kept[-1].load_s
    first = [one.decode_tok_s for one in requests if one.load_s <= FIRST_S] or [requests[0].decode_tok_s]
    last = [one.decode_tok_s for one in kept if one.load_s > end - LAST_S]
    return round(percentile(last, 0.5) / percentile(first, 0.5), 4)


def throttled(journal: Journal) -> dict[str, Any]:
    """Whether anything slowed the CPU down, and how fast it was before and after; empty when nothing did.

    The run is marked and the two are told apart: a mean over both would be the speed of no device.
    """
    looks = states(journal)
    first = next(iter(states(journal, "before") or looks), None)
    reasons = [watch.throttled_because(first, look) for look in looks] if first else []
    if not any(reasons):
        return {}
    place = next(place for place, found in enumerate(reasons) if found)
    since = [at for at, row in enumerate(journal.rows) if row["kind"] == "state"][place]
    requests = [at for at, row in enumerate(journal.rows) if row["kind"] == "request"]
    speeds = [one.decode_tok_s for one in asked(journal)]
    before = [speed for at, speed in zip(requests, speeds, strict=True) if at < since]
    after = [speed for at, speed in zip(requests, speeds, strict=True) if at > since]
    every = list(dict.fromkeys(reason for found in reasons for reason in found))
    return {
        "throttled": f"{', '.join(every)} after {journal.rows[since]['load_s']:,.0f} s of load",
        "decode_tok_s_before_throttling": round(percentile(before, 0.5), 2) if before else None,
        "decode_tok_s_throttled": round(percentile(after, 0.5), 2) if after else None,
    }


def noisy_because(journal: Journal) -> list[str]:
    """Why the figures are worse than those of a quiet device; empty when it was quiet."""
    before, during = states(journal, "before"), states(journal, "measured")
    measured = [one for one in asked(journal) if one.phase == "measured"]
    found = []
    for when, looks in (("before", before), ("during", during)):
        cores = _most(watch.others_busy(looks)) if when == "before" else _median(watch.others_busy(looks))
        if cores > BUSY_CORES:
            found.append(f"other processes kept {cores:.1f} cores busy {when} the requests")
    if (cores := watch.stolen(during)) > BUSY_CORES / 5:
        found.append(f"the host took {cores:.2f} cores for other guests")
    if change := watch.clock_change(during):
        found.append(change)
    if (share := spread([one.decode_tok_s for one in measured])) > SPREAD:
        found.append(f"decode speeds spread over {share:.0%} of the median")
    return found


def _most(values: Sequence[float]) -> float:
    return max(values, default=0.0)


def _median(values: Sequence[float]) -> float:
    return percentile(values, 0.5) if values else 0.0


def latency_line(journal: Journal, facts: Facts, evidence: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`latency` of the report. `settings` go into the conditions: where, threads, context, runtime …"""
    measured = [one for one in asked(journal) if one.phase == "measured"]
    during, before = states(journal, "measured"), states(journal, "before")
    noise, replayed = noisy_because(journal), journal.of("parity")[-1]
    conditions = {
        **facts.conditions(settings["where"]),
        **settings,
        "server": replayed["runtime"],
        "golden_cases": _reproduced(replayed),
        "runs": len(measured),
        "prompt_tokens": round(percentile([one.times.prompt_tokens for one in measured], 0.5)),
        "new_tokens": measured[0].times.new_tokens,
        "measured_s": round(sum(one.times.prompt_ms + one.times.decode_ms for one in measured) / 1000, 1),
        "first_token_spread": round(spread([one.times.prompt_ms for one in measured]), 3),
        "decode_spread": round(spread([one.decode_tok_s for one in measured]), 3),
        "load_before": before[0].load if before else None,
        "others_busy_cores_before": round(_most(watch.others_busy(before)), 2),
        "others_busy_cores_during": round(_median(watch.others_busy(during)), 2),
        "stolen_cores": round(watch.stolen(during), 3),
        "noisy": "; ".join(noise) or None,
        "throttled": None,
        **throttled(journal),
        **(watch.summary(states(journal)) if states(journal) else {}),
        "sustained_share": sustained_share(asked(journal)),
        "sustained_s": round(asked(journal)[-1].load_s, 1),
        "resumed_requests": journal.resumed or None,
        **{f"llama_bench_{name}": value for row in journal.of("peer") for name, value in row.items()},
    }
    return {**of_times(measured), "evidence": evidence, "conditions": conditions}


def _reproduced(parity: dict[str, Any]) -> str:
    """`24 reproduced, first token within 0.012 nats, answers 0.0031 nats on average`; the last where it is known."""
    mean = parity.get("answer_kl_mean")
    along = "" if mean is None else f", answers {mean:.2g} nats on average"
    return f"{parity['cases']} reproduced, first token within {parity['first_token_kl_max']:.2g} nats{along}"


def memory_line(journal: Journal, evidence: str) -> dict[str, Any] | None:
    """`memory_mib` of the report: the most that the runtime's process ever had in RAM; None where nobody tells."""
    peaks = [state.peak_mib for state in states(journal) if state.peak_mib]
    return {"peak": round(max(peaks), 1), "evidence": evidence} if peaks else None
