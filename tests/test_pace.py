"""What a long comparison says of its progress."""

from __future__ import annotations

import pytest

from edgedistill.pace import Pace


def test_it_says_which_arm_of_which_seed_and_how_long_it_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    """Two minutes an arm: after the first, three of four are left; the third is the first of the second seed."""
    now = [0.0]
    pace = Pace(2, 2, clock=lambda: now[0])
    for name in ("method sft", "method dpo", "method sft"):
        pace.step(name)
        now[0] += 120
    assert capsys.readouterr().err.splitlines() == [
        "seed 1 of 2, arm 1 of 2: method sft",
        "seed 1 of 2, arm 2 of 2: method dpo; about 6 minutes left",
        "seed 2 of 2, arm 1 of 2: method sft; about 4 minutes left",
    ]
