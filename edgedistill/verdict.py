"""What may be said of one budget: met, missed or unproven, and what that rests on."""

from __future__ import annotations

from typing import Any

from edgedistill.accuracy import worst_drop

_AT_LEAST = ("decode_tok_s",)
"""Limits from below; all others are from above."""
_TIMED = ("first_token_ms", "decode_tok_s")
_MARKS = {"noisy": "noisy machine", "throttled": "it throttled"}
"""Condition that a speed must be read with -> the words for it."""
_PARTS = "before_throttling", "throttled"
"""Of the requests of a run that throttled."""


def of(name: str, value: float | None, limit: float, kind: str, line: dict[str, Any]) -> str:
    """Only what was measured can meet or miss a limit. A drop is met when its whole interval is within the limit; of
    speed and memory see below.
    """
    if value is None or kind != "measured":
        return "unproven"
    is_kept = _is_kept(name, value, limit)
    if name == "accuracy_drop":
        is_proven = not is_kept or worst_drop(line["accuracy"]) <= limit
    else:
        is_proven = name == "package_mib" or _is_proven(name, is_kept, limit, line["latency"]["conditions"])
    return ("met" if is_kept else "missed") if is_proven else "unproven"


def _is_kept(name: str, value: float, limit: float) -> bool:
    return value >= limit if name in _AT_LEAST else value <= limit


def _is_proven(name: str, is_kept: bool, limit: float, conditions: dict[str, Any]) -> bool:
    """Nothing is proven by another device. A speed that is too low on a busy one, or on another processor of it than
    the target names, proves nothing; nor does one that a device keeps cool and loses hot.
    """
    if conditions.get("other_device"):
        return False
    if name not in _TIMED:
        return True
    if not is_kept and (conditions.get("noisy") or _other_backend(conditions)):
        return False
    if not conditions.get("throttled"):
        return True
    cool, hot = (conditions.get(f"{name}_{part}") for part in _PARTS)
    if is_kept:
        return all(_is_kept(name, part, limit) for part in (cool, hot) if part is not None)
    return cool is not None and not _is_kept(name, cool, limit)


def _other_backend(conditions: dict[str, Any]) -> str:
    """`on its CPU, not its GPU`"""
    ran, stated = conditions.get("backend"), conditions.get("target_backend")
    return f"on its {ran.upper()}, not its {stated.upper()}" if ran and stated and ran != stated else ""


def evidence(name: str, kind: str, line: dict[str, Any]) -> str:
    """What a verdict rests on: `measured, p50 of 100, ssh://pi@board, noisy machine`."""
    if name == "accuracy_drop":
        return f"measured, n = {line['accuracy']['n']}, 95% up to {worst_drop(line['accuracy']):.3f}"
    if name == "package_mib":
        return "measured, file size"
    if kind == "predicted":
        return "predicted, no device at hand"
    conditions = line["latency"]["conditions"]
    other = conditions.get("other_device")
    where = f"{conditions['where']}, another device: {other}" if other else conditions["where"]
    if name == "memory_mib":
        return f"{kind}, {conditions.get('memory') or 'peak of a fresh process'}, {where}"
    marks = [word for sign, word in _MARKS.items() if conditions.get(sign)]
    marks += filter(None, [_other_backend(conditions)])
    return ", ".join([kind, f"p50 of {conditions['runs']}", where, *marks])
