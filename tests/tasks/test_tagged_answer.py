"""Grading of short texts."""

from __future__ import annotations

import pytest

from edgedistill.tasks.tagged_answer import details, is_right


@pytest.mark.parametrize(
    ("given", "right"),
    [("True", True), (" true\n", True), ("(A)", False), ("True.", False), ("", False), (None, False)],
)
def test_right_is_the_same_text_but_for_case_and_space(given: str | None, right: bool) -> None:
    assert is_right(given, "True") is right


def test_format_rate_is_the_share_with_tags() -> None:
    assert details(["a", None, "", "b"], ["a", "a", "a", "a"]) == {"format_rate": 0.75}
    assert details([], []) == {}
