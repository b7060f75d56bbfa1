from __future__ import annotations

import pytest

from edgedistill import onnx_search


def row(quant: str, level: int, kl: float, bits: float) -> dict[str, object]:
    return {"quant": quant, "accuracy_level": level, "kl": kl, "bits_per_weight": bits}


def test_a_bit_more_is_worth_a_quarter_of_the_divergence():
    assert onnx_search.waste(row("INT4", 1, 0.004, 4.0)) == pytest.approx(onnx_search.waste(row("INT4", 1, 0.001, 5.0)))


def test_rounding_noise_does_not_win_by_being_smaller_still():
    """Both are below 1e-7 nats, so the smaller file is better."""
    assert onnx_search.waste(row("INT8", 1, 1e-9, 9.0)) > onnx_search.waste(row("INT8", 1, 9e-8, 8.5))


def test_the_best_of_each_kind_are_kept_in_the_order_that_they_were_tried():
    rows = [
        row("INT4", 1, 0.004, 5.0),  # waste 0.004 x 1024 = 4.1
        row("INT4", 4, 0.009, 4.0),  # 0.009 x 256 = 2.3
        row("INT4", 1, 0.006, 4.5),  # 0.006 x 512 = 3.1
        row("INT4", 4, 0.008, 4.5),  # 0.008 x 512 = 4.1
        row("INT8", 1, 0.00001, 8.5),
    ]
    kind = lambda r: (r["quant"], r["accuracy_level"])  # noqa: E731
    assert onnx_search.best(rows, 1, kind) == [rows[1], rows[2], rows[4]]
    assert onnx_search.best(rows, 2, kind) == rows
