"""Tasks whose answer is one JSON object with an `intent` and slots: `{"intent": "alarm_set", "time": "7 am"}`."""

from __future__ import annotations

import json
from typing import Any

from edgedistill.errors import UsageError

VERSION = 1

Action = dict[str, Any]


def is_right(given: str | None, expected: str) -> bool:
    """Whether both are the same JSON object. The order of keys does not matter; types and spelling do."""
    action = _action(given)
    return action is not None and _canonical(action) == _canonical(_expected(expected))


def details(given: list[str | None], expected: list[str]) -> dict[str, float]:
    """Shares over all items, 0-1: format_rate (a JSON object with an intent), intent_accuracy, and slot_f1.

    slot_f1 is micro F1 over (slot, value) pairs; an answer that is no object has none. 1 where neither side has a slot.
    """
    if not given:
        return {}
    actions = [_action(text) for text in given]
    wanted = [_expected(text) for text in expected]
    both = list(zip(actions, wanted, strict=True))
    found = [_slots(action or {}) for action in actions]
    asked = [_slots(action) for action in wanted]
    shared = sum(len(ours & theirs) for ours, theirs in zip(found, asked, strict=True))
    total = sum(map(len, found)) + sum(map(len, asked))
    return {
        "format_rate": sum(action is not None and "intent" in action for action in actions) / len(given),
        "intent_accuracy": sum(a is not None and a.get("intent") == w.get("intent") for a, w in both) / len(given),
        "slot_f1": 2 * shared / total if total else 1.0,
    }


def stratum(answer: str) -> str:
    """The kind of an expected answer: its intent. An exam has them in proportion."""
    return str(_expected(answer).get("intent", ""))


def _action(text: str | None) -> Action | None:
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _expected(text: str) -> Action:
    action = _action(text)
    if action is None:
        raise UsageError(f"json_action: the expected answer {text!r} is no JSON object", "mend the task's .jsonl files")
    return action


def _slots(action: Action) -> set[tuple[str, str]]:
    return {(name, _canonical(value)) for name, value in action.items() if name != "intent"}


def _canonical(value: Any) -> str:
    """Text that is equal for equal JSON; unlike Python's ==, it tells `true` from `1`."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
