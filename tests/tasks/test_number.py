"""Numbers are compared as numbers, whatever stands around them."""

from __future__ import annotations

import pytest

from edgedistill.tasks import number


@pytest.mark.parametrize(
    "given", ["18", "18.0", "18.00", "$18", "18 dollars", "18%", "= 18", "7 + 11 = 18", "(18)", "18.", "**18**"]
)
def test_what_means_eighteen_is_eighteen(given):
    assert number.is_right(given, "18")


@pytest.mark.parametrize("given", [None, "", "eighteen", "180", "1.8", "-18", "18 of 20", "x18"])
def test_what_means_something_else_is_wrong(given):
    assert not number.is_right(given, "18")


def test_a_published_solution_is_an_expected_answer():
    assert number.is_right("1234", "She has 1,000 + 234 = <<1000+234=1234>>1,234 eggs.\n#### 1,234")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234,567", 1234567),
        ("1, 2", 2),
        ("1,2", 2),
        ("-3", -3),
        ("\u22123", -3),
        ("-$3", -3),
        ("10-4", 4),
        ("7 - 4", 4),
        (".5", 0.5),
        ("none", None),
    ],
)
def test_the_last_number_is_read(text, value):
    assert number.last_number(text) == value


def test_a_very_long_answer_is_no_trouble():
    assert number.is_right("9" * 100_000 + " is 5", "5")
    assert not number.is_right("9" * 1_000_000, "5")


def test_an_expected_answer_without_a_number_is_never_met():
    assert not number.is_right("none", "none")


def test_format_rate_counts_answers_with_a_number():
    assert number.details(["4", "four", None, "$4"], ["4"] * 4) == {"format_rate": 0.5}
    assert number.details([], []) == {}
