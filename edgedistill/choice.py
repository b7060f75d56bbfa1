"""Which candidate ships, and which budgets it keeps.

A candidate may ship when it passes parity. Among these the smallest whose accuracy is shown not to be worse than the
float student's by more than the budget (the upper end of the drop's interval is within it) is chosen; if that cannot be
shown of any, the most accurate one is.
"""

from __future__ import annotations

from typing import Any

from edgedistill.recipe import Budgets

MIB = 1024 * 1024

UNITS = {
    "first_token_ms": "ms",
    "decode_tok_s": "tok/s",
    "memory_mib": "MiB",
    "package_mib": "MiB",
    "accuracy_drop": "0-1",
}
_AT_LEAST = ("decode_tok_s",)
"""Limits from below; all others are from above."""
_TIMED = ("first_token_ms", "decode_tok_s")


def choose(lines: list[dict[str, Any]], budgets: Budgets) -> list[dict[str, Any]]:
    """Candidate lines with `chosen` and `rejected_because` filled in. None is chosen when none passes parity."""
    reasons = [_reasons(line, budgets) for line in lines]
    passing = [n for n, line in enumerate(lines) if line["parity"]["passed"]]
    good = [n for n in passing if not reasons[n]]
    if good:
        best = min(good, key=lambda n: lines[n]["bytes"])
        lost = f"larger than {_name(lines[best])}, which keeps the limits too"
    elif passing:
        best = min(passing, key=lambda n: (-lines[n]["accuracy"]["value"], lines[n]["bytes"]))
        lost = f"no candidate keeps every limit, and {_name(lines[best])} is the most accurate"
    else:
        best, lost = -1, ""
    return [
        {**line, "chosen": n == best, "rejected_because": [] if n == best else reasons[n] or [lost]}
        for n, line in enumerate(lines)
    ]


def _reasons(line: dict[str, Any], budgets: Budgets) -> list[str]:
    """Why a candidate should not ship, whatever the others are."""
    if not line["parity"]["passed"]:
        return [f"parity: {line['parity_difference']}"]
    found = []
    for budget in grade(line, budgets):
        if budget["name"] == "accuracy_drop" and budget["verdict"] != "met":
            high = line["accuracy"]["drop_ci_high"]
            found.append(f"accuracy may be {high:.3f} below the float student's, the limit is {budget['limit']:.3f}")
        elif budget["verdict"] == "missed":
            found.append(f"{budget['name']} is {budget['value']:g} {budget['unit']}, the limit is {budget['limit']:g}")
    return found


def _name(line: dict[str, Any]) -> str:
    return f"{line['format']} {line['quant']}"


def grade(line: dict[str, Any], budgets: Budgets) -> list[dict[str, Any]]:
    """The budgets of one candidate, in the report's schema. A limit that is not set is left out."""
    latency, memory = line["latency"], line["memory_mib"]
    timed = latency["evidence"] if latency else "predicted"
    values = {
        "first_token_ms": (latency["first_token_ms"]["p50"] if latency else None, timed),
        "decode_tok_s": (latency["decode_tok_s"]["p50"] if latency else None, timed),
        "memory_mib": (memory["peak"] if memory else None, memory["evidence"] if memory else "predicted"),
        "package_mib": (round(line["bytes"] / MIB, 3), "measured"),
        "accuracy_drop": (line["accuracy"]["drop"], "measured"),
    }
    limits = budgets.model_dump(exclude_none=True)
    return [
        {
            "name": name,
            "limit": limits[name],
            "value": value,
            "unit": UNITS[name],
            "verdict": _verdict(name, value, limits[name], evidence, line),
            "evidence": _how(name, line, evidence),
        }
        for name, (value, evidence) in values.items()
        if name in limits
    ]


def _verdict(name: str, value: float | None, limit: float, evidence: str, line: dict[str, Any]) -> str:
    """Only what was measured can meet or miss a limit. A drop is met when its whole interval is within the limit, and a
    speed that is too low on a busy machine proves nothing.
    """
    if value is None or evidence != "measured":
        return "unproven"
    is_kept = value >= limit if name in _AT_LEAST else value <= limit
    if name == "accuracy_drop" and is_kept and limit < line["accuracy"]["drop_ci_high"]:
        return "unproven"
    if name in _TIMED and not is_kept and line["latency"]["conditions"].get("noisy"):
        return "unproven"
    return "met" if is_kept else "missed"


def _how(name: str, line: dict[str, Any], evidence: str) -> str:
    if name == "accuracy_drop":
        return f"measured, n = {line['accuracy']['n']}, 95% up to {line['accuracy']['drop_ci_high']:.3f}"
    if name == "package_mib":
        return "measured, file size"
    if evidence == "predicted":
        return "predicted, no device at hand"
    conditions = line["latency"]["conditions"]
    noisy = ", noisy machine" if conditions.get("noisy") else ""
    if name == "memory_mib":
        return f"measured, peak of a fresh process, {conditions['where']}"
    return f"measured, p50 of {conditions['runs']}, {conditions['where']}{noisy}"
