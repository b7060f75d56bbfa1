"""What one budget proves, for speeds and conditions made up by hand. The limit: at least 15 tok/s, at most 100 ms."""

from __future__ import annotations

from typing import Any

import pytest

from edgedistill import verdict

CONDITIONS = {"where": "ssh://pi@board", "runs": 100, "backend": "cpu", "target_backend": "cpu"}


def decode(value: float, **conditions: Any) -> tuple[str, str]:
    """Verdict and what it rests on."""
    line = {"latency": {"conditions": {**CONDITIONS, **conditions}}}
    name = "decode_tok_s"
    return verdict.of(name, value, 15.0, "measured", line), verdict.evidence(name, "measured", line)


def test_a_speed_on_the_quiet_device_itself_decides():
    assert decode(20.0) == ("met", "measured, p50 of 100, ssh://pi@board")
    assert decode(10.0)[0] == "missed"


def test_another_device_proves_nothing_whichever_way_it_went():
    said = "measured, p50 of 100, ssh://pi@board, another device: 4x Cortex-A55"
    assert decode(20.0, other_device="4x Cortex-A55") == ("unproven", said)
    assert decode(10.0, other_device="4x Cortex-A55")[0] == "unproven"
    line = {"latency": {"conditions": {**CONDITIONS, "other_device": "4x Cortex-A55"}}}
    assert verdict.of("memory_mib", 5.0, 15.0, "measured", line) == "unproven"
    assert verdict.evidence("memory_mib", "measured", line).endswith("another device: 4x Cortex-A55")
    assert verdict.of("package_mib", 5.0, 15.0, "measured", line) == "met", "a fact of the file"


def test_a_slower_processor_than_the_targets_can_keep_a_limit_but_not_miss_it():
    found, said = decode(20.0, target_backend="gpu")
    assert (found, said.split(", ", 3)[3]) == ("met", "on its CPU, not its GPU")
    assert decode(10.0, target_backend="gpu")[0] == "unproven"


@pytest.mark.parametrize(
    ("value", "before", "throttled", "expected"),
    [
        (20.0, 20.0, 16.0, "met"),
        (20.0, 20.0, 10.0, "unproven"),
        (10.0, 20.0, 10.0, "unproven"),
        (16.0, None, 16.0, "met"),
        (12.0, 12.0, 10.0, "missed"),
        (10.0, None, 10.0, "unproven"),
    ],
)
def test_a_run_that_throttled_is_judged_by_both_of_its_parts(value, before, throttled, expected):
    """`value` is of the larger part, whichever that is."""
    parts = {"decode_tok_s_before_throttling": before, "decode_tok_s_throttled": throttled}
    assert decode(value, throttled="hot", **parts) == (expected, "measured, p50 of 100, ssh://pi@board, it throttled")


def test_a_limit_from_above_is_judged_by_both_parts_too():
    parts = {"first_token_ms_before_throttling": 80.0, "first_token_ms_throttled": 120.0}
    line = {"latency": {"conditions": {**CONDITIONS, "throttled": "hot", **parts}}}
    assert verdict.of("first_token_ms", 80.0, 100.0, "measured", line) == "unproven"
    assert verdict.of("first_token_ms", 80.0, 130.0, "measured", line) == "met"
    assert verdict.of("first_token_ms", 80.0, 70.0, "measured", line) == "missed"


def test_what_throttled_only_after_the_measured_requests_is_not_held_against_them():
    assert decode(20.0, throttled=None, throttled_sustained="cooling after 200 s of load") == (
        "met",
        "measured, p50 of 100, ssh://pi@board",
    )
