"""The fit finds the factors that made up the rows, and leaves alone what no row speaks of."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from edgedistill.predictor import formula
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.work import Work

BENCH = Path(__file__).resolve().parent.parent / "bench"
BOARD = Chip("board", "board", "dotprod", cores=4, ghz=2.0, lanes=2.0, copy_gb_s=5.0, peak_gb_s=17.0)
TRUTH = {"read rate/board/cpu": 1.2, "rate/board": 3.0, "cost/Q8_0": 0.8, "overhead ms/cpu": 3.0}


@pytest.fixture
def fitting(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("predictor_fit")


def made_up(fitting, source, slower=1.0):
    """Rows whose times are the formula's own, with the true factors."""
    rows = []
    for size in (2e8, 5e8, 1e9, 3e9, 8e9):
        work = Work("Q8_0", read_bytes=size, read_weights=size / 1.06, body_weights=size, context=0)
        seconds = slower * formula.decode(work, BOARD).seconds(TRUTH)
        rows.append(fitting.Measured(f"{source} {size}", source, BOARD, work, seconds))
    return rows


def test_predictions_come_back_to_what_was_measured(fitting):
    """Eight sources: with fewer, the priors still pull."""
    rows = [row for source in range(8) for row in made_up(fitting, f"number {source}")]
    found = fitting.fit(rows, formula.decode, fitting.DECODE)
    for row in rows:
        assert formula.decode(row.work, BOARD).seconds(found) == pytest.approx(row.seconds, rel=0.05)


def test_what_one_source_is_off_by_is_its_own(fitting):
    """Seven sources agree, the eighth is 40% slower: the board stays where the seven see it."""
    rows = [row for source in range(7) for row in made_up(fitting, f"number {source}")]
    found = fitting.fit([*rows, *made_up(fitting, "late", slower=1.4)], formula.decode, fitting.DECODE)
    last = rows[-1]
    assert formula.decode(last.work, BOARD).seconds(found) == pytest.approx(last.seconds, rel=0.1)


def test_a_factor_without_rows_is_not_in_the_result(fitting):
    found = fitting.fit(made_up(fitting, "one"), formula.decode, fitting.DECODE)
    assert "cost/Q4_K" not in found and "read rate/board/cpu" in found
    assert not [name for name in found if name.startswith("source ")]
