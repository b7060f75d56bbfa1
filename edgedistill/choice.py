"""Which candidate ships, and which budgets it keeps.

Three sieves, the cheap one first:

    predictions   a candidate that cannot keep a budget even at the good end of its prediction is not evaluated at all
    gates         parity; accuracy shown not to be below the float student's by more than the margin; budgets measured
    preference    of what is left the best as the target states it, by default the one that answers soonest

If the gates leave none, the most accurate of those that pass parity is chosen, and the report says what it misses.

Each interval is of one candidate alone. Of several that are judged on the same items one may pass by luck, and the drop
of the best comes out a little low; nothing is corrected for that, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgedistill import verdict
from edgedistill.accuracy import worst_drop
from edgedistill.recipe import Budgets
from edgedistill.target import Preference

MIB = 1024 * 1024

UNITS = {
    "first_token_ms": "ms",
    "decode_tok_s": "tok/s",
    "memory_mib": "MiB",
    "package_mib": "MiB",
    "accuracy_drop": "0-1",
}
_NEVER = float("inf")


def answer_ms(latency: dict[str, Any] | None, tokens: float) -> float | None:
    """First token and the decoding of an answer of that many tokens, milliseconds; medians or predicted values."""
    if latency is None:
        return None
    # The first token comes with the prompt.
    decoded = max(0.0, tokens - 1)
    return float(latency["first_token_ms"]["p50"] + 1000 * decoded / latency["decode_tok_s"]["p50"])


def choose(lines: list[dict[str, Any]], budgets: Budgets, preference: Preference = "fastest") -> list[dict[str, Any]]:
    """Candidate lines with `chosen` and `rejected_because` filled in. None is chosen when none passes parity.

    The line of a candidate that was not evaluated has its reasons in `rejected_because` already, and no parity.
    """
    reasons = [_reasons(line, budgets) for line in lines]
    passing = [n for n, line in enumerate(lines) if line["parity"] and line["parity"]["passed"]]
    good = [n for n in passing if not reasons[n]]
    best = -1
    if good:
        best = min(good, key=lambda n: RANKS[preference](lines[n]))
    elif passing:
        best = min(passing, key=lambda n: _most_accurate(lines[n]))
    return [
        {
            **line,
            "chosen": n == best,
            "rejected_because": [] if n == best else reasons[n] or [_lost(line, lines[best], preference)],
        }
        for n, line in enumerate(lines)
    ]


def _answer_ms(line: dict[str, Any]) -> float:
    found = line["latency"] and line["latency"].get("answer_ms")
    return _NEVER if found is None else float(found)


def _value(line: dict[str, Any]) -> float:
    return float(line["accuracy"]["value"]) if line["accuracy"] else 0.0


def _kl(line: dict[str, Any]) -> float:
    return _NEVER if line.get("kl_mean") is None else float(line["kl_mean"])


def _fastest(line: dict[str, Any]) -> tuple[float, ...]:
    return (_answer_ms(line), line["bytes"])


def _smallest(line: dict[str, Any]) -> tuple[float, ...]:
    return (line["bytes"], _answer_ms(line))


def _most_accurate(line: dict[str, Any]) -> tuple[float, ...]:
    """Equally accurate ones by how little they moved: without a task that is all there is."""
    return (-_value(line), _kl(line), line["bytes"])


RANKS: dict[str, Callable[[dict[str, Any]], tuple[float, ...]]] = {
    "fastest": _fastest,
    "smallest": _smallest,
    "most_accurate": _most_accurate,
}
"""Preference -> what the best candidate has least of. The second figure decides between equals."""


def _lost(line: dict[str, Any], best: dict[str, Any], preference: Preference) -> str:
    """Why a candidate that passes every gate is not the one."""
    winner = f"{_name(best)}, which keeps the limits too"
    own, other = _answer_ms(line), _answer_ms(best)
    if preference == "fastest" and own > other:
        taken = _apart(own, other, 1)
        return f"slower than {_name(best)}: an answer takes {taken[0]} ms, not {taken[1]}"
    if preference == "most_accurate" and _value(line) < _value(best):
        told = _apart(_value(line), _value(best), 3)
        return f"less accurate than {winner}: {told[0]}, not {told[1]}"
    if preference == "most_accurate" and _kl(line) > _kl(best):
        return f"as accurate as {winner}, but further from the float student"
    return f"larger than {winner}" if line["bytes"] > best["bytes"] else f"no better than {winner}"


def _apart(one: float, other: float, decimals: int) -> tuple[str, str]:
    """Two numbers that differ, with as many decimals as show it."""
    while f"{one:.{decimals}f}" == f"{other:.{decimals}f}":
        decimals += 1
    return f"{one:.{decimals}f}", f"{other:.{decimals}f}"


def _reasons(line: dict[str, Any], budgets: Budgets) -> list[str]:
    """Why a candidate should not ship, whatever the others are."""
    if not line["parity"]:
        return list(line["rejected_because"])
    if not line["parity"]["passed"]:
        return [f"parity: {line['parity_difference']}"]
    found = []
    for budget in grade(line, budgets):
        if budget["name"] == "accuracy_drop" and budget["verdict"] != "met":
            high = worst_drop(line["accuracy"])
            found.append(f"accuracy may be {high:.3f} below the float student's, the limit is {budget['limit']:.3f}")
        elif budget["verdict"] == "missed":
            found.append(f"{budget['name']} is {budget['value']:g} {budget['unit']}, the limit is {budget['limit']:g}")
    return found + list((line.get("text") or {}).get("problems", ()))


def _name(line: dict[str, Any]) -> str:
    return f"{line['format']} {line['quant']}"


def grade(line: dict[str, Any], budgets: Budgets) -> list[dict[str, Any]]:
    """The budgets of one candidate, in the report's schema. A limit that is not set is left out, but for the
    accuracy's, which has a default; nothing is said of an accuracy that was not taken.
    """
    latency, memory = line["latency"], line["memory_mib"]
    timed = latency["evidence"] if latency else "predicted"
    values = {
        "first_token_ms": (latency["first_token_ms"]["p50"] if latency else None, timed),
        "decode_tok_s": (latency["decode_tok_s"]["p50"] if latency else None, timed),
        "memory_mib": (memory["peak"] if memory else None, memory["evidence"] if memory else "predicted"),
        "package_mib": (round(line["bytes"] / MIB, 3), "measured"),
        "accuracy_drop": (line["accuracy"]["drop"] if line["accuracy"] else None, "measured"),
    }
    limits = budgets.model_dump(exclude_none=True)
    if line["accuracy"]:
        limits["accuracy_drop"] = budgets.margin
    else:
        limits.pop("accuracy_drop", None)
    return [
        {
            "name": name,
            "limit": limits[name],
            "value": value,
            "unit": UNITS[name],
            "verdict": verdict.of(name, value, limits[name], evidence, line),
            "evidence": verdict.evidence(name, evidence, line),
        }
        for name, (value, evidence) in values.items()
        if name in limits
    ]


def text_limits(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The limits of a model without a task, in the report's schema: what its running text says (perplexity.py)."""
    text = line.get("text")
    if not text:
        return []
    how = f"measured, {text['tokens']:,} tokens"
    ratio, high, most = text["ratio"], text["ratio_ci_high"], text["ratio_max"]
    far, limit = text["kl_mean"], text["kl_mean_max"]
    ratio_verdict = "met" if high <= most else "unproven" if ratio <= most else "missed"
    return [
        {
            "name": "perplexity_ratio",
            "limit": most,
            "value": ratio,
            "unit": "x",
            "verdict": ratio_verdict,
            "evidence": f"{how}, 95% up to {high:.4f}",
        },
        {
            "name": "kl_mean",
            "limit": limit,
            "value": far,
            "unit": "nats",
            "verdict": "met" if far <= limit else "missed",
            "evidence": how,
        },
    ]
