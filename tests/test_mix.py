"""Choices by hand and by trying all of them."""

from __future__ import annotations

import itertools

import pytest

from edgedistill import mix
from edgedistill.errors import UsageError


def line(name: str, kl: float, rows: int = 32, row: int = 256) -> dict[str, object]:
    """Errors fall by 4 with every rung; the second one is measured."""
    types = mix.ladder(row)
    errors = {kind: 16.0 / 4**n for n, kind in enumerate(types)}
    return {"tensor": name, "dimensions": [rows, row], "measured": types[1], "kl": kl, "errors": errors}


def size(measured, types) -> int:
    return sum(mix.stored_bytes(tuple(one["dimensions"]), types[one["tensor"]]) for one in measured)


def test_the_cost_of_a_type_is_the_measured_kl_times_the_ratio_of_errors():
    found = mix.costs(line("a", 0.2))
    assert found["Q3_K"] == pytest.approx(0.2)  # measured
    assert found["Q2_K"] == pytest.approx(0.8)
    assert found["IQ4_XS"] == pytest.approx(0.05)


def test_rows_that_256_does_not_divide_get_types_of_32():
    assert mix.ladder(512)[0] == "Q2_K"
    assert mix.ladder(288) == ("Q4_0", "IQ4_NL", "Q5_0", "Q5_1", "Q8_0", "F16")
    assert mix.ladder(100) == ("F16",)


def test_data_is_padded_to_32_bytes():
    """3 rows of 32: 18 bytes each in Q4_0, 54 together."""
    assert mix.stored_bytes((3, 32), "Q4_0") == 64


def test_no_other_choice_of_at_most_that_size_costs_less():
    measured = [line("a", 0.5), line("b", 0.01), line("c", 0.1, rows=96), line("d", 0.02, rows=64, row=288)]
    options = [list(mix.costs(one)) for one in measured]
    for room in (24_000, 30_000, 41_000):
        chosen = mix.choose(measured, room, {}, "x")
        assert size(measured, chosen) <= room
        every = (dict(zip("abcd", kinds, strict=True)) for kinds in itertools.product(*options))
        best = min(mix.cost(measured, types) or 0 for types in every if size(measured, types) <= room)
        assert mix.cost(measured, chosen) == pytest.approx(best, rel=1e-3)


def test_what_the_recipe_has_set_stays():
    measured = [line("a", 0.5), line("b", 0.01)]
    assert mix.choose(measured, 12_000, {"b": "Q6_K"}, "x")["b"] == "Q6_K"


def test_a_size_that_cannot_be_kept_is_refused_with_the_least():
    with pytest.raises(UsageError, match=r"MIX_1KiB: the weights take 5,376 bytes in their lowest types, and 1,024"):
        mix.choose([line("a", 0.5), line("b", 0.1)], 1024, {}, "MIX_1KiB")


def test_the_cost_of_types_that_were_not_looked_at_is_unknown():
    assert mix.cost([line("a", 0.5)], {"a": "IQ3_S"}) is None
