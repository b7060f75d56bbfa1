"""What goes to stderr while work goes on, where no terminal is."""

from __future__ import annotations

import pytest

from edgedistill import log


def test_work_that_begins_says_so_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with log.progress("elicit", 1200, 200):
        assert capsys.readouterr().err == "  elicit  200/1,200\n"


def test_nothing_is_said_of_work_that_is_done_already(capsys: pytest.CaptureFixture[str]) -> None:
    with log.progress("elicit", 1200, 1200):
        pass
    assert capsys.readouterr().err == ""


def test_later_lines_have_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 of 1,000 in 10 s: 10/s, and 90 s for the other 900. A line comes every 10 s, not for every step."""
    now = 50.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    with log.progress("prefer", 1000) as advance:
        advance(50)
        now = 60.0
        advance(50)
        advance(1)
    assert capsys.readouterr().err == "  prefer  0/1,000\n  prefer  100/1,000  10.0/s  90 s left\n"
