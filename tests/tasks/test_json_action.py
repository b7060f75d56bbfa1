"""Grading of JSON actions, with expected values by hand."""

from __future__ import annotations

import pytest

from edgedistill.errors import UsageError
from edgedistill.tasks.json_action import details, is_right, stratum

DIM = '{"intent": "iot_hue_lightdim", "house_place": "living room"}'


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (DIM, True),
        ('{"house_place":"living room","intent":"iot_hue_lightdim"}', True),
        (f"  {DIM}\n", True),
        ('{"intent": "iot_hue_lightdim"}', False),
        ('{"intent": "iot_hue_lightdim", "house_place": "Living room"}', False),
        (f"[{DIM}]", False),
        ('"iot_hue_lightdim"', False),
        ("living room", False),
        ("", False),
        ("[" * 100_000, False),
        (None, False),
    ],
)
def test_right_is_the_same_json_object(given: str | None, right: bool) -> None:
    assert is_right(given, DIM) is right


def test_true_is_not_one() -> None:
    assert not is_right('{"intent": "x", "on": true}', '{"intent": "x", "on": 1}')


def test_details_by_hand() -> None:
    """Four items. Intents right: 1, 2 = 2/4. JSON with intent: 1, 2, 3 = 3/4.
    Pairs given 1+2+0+0 = 3, expected 1+1+0+2 = 4, in common 1+0+0+0 = 1 (in the second, `time` has another value):
    F1 = 2 * 1 / 7."""
    given = [DIM, '{"intent": "alarm_set", "time": "8", "date": "today"}', '{"intent": "a"}', "no json"]
    expected = [DIM, '{"intent": "alarm_set", "time": "7"}', '{"intent": "b"}', '{"intent": "c", "x": "1", "y": "2"}']
    found = details([*given], expected)
    assert found == {"format_rate": 0.75, "intent_accuracy": 0.5, "slot_f1": pytest.approx(2 / 7)}


def test_details_without_slots_or_items() -> None:
    assert details(['{"intent": "a"}'], ['{"intent": "a"}'])["slot_f1"] == 1.0
    assert details([], []) == {}
    assert details([None], [DIM]) == {"format_rate": 0.0, "intent_accuracy": 0.0, "slot_f1": 0.0}


def test_stratum_is_the_intent() -> None:
    assert stratum(DIM) == "iot_hue_lightdim"


def test_an_expected_answer_that_is_no_object_is_the_tasks_mistake() -> None:
    with pytest.raises(UsageError, match="expected answer 'yes' is no JSON object"):
        is_right(DIM, "yes")
