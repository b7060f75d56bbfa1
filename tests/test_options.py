"""Which answers a question offers."""

from __future__ import annotations

from edgedistill.options import closed_answers, listed_options, texts_of
from edgedistill.task import Item


def test_options_are_read_from_the_question() -> None:
    lettered = "Which?\nOptions:\n(A) one\n(B) two (C) not this\n(C) three"
    assert listed_options(lettered) == ["(A)", "(B)", "(C)"]
    assert listed_options("Return?\nOptions:\n- Yes\n- No") == ["Yes", "No"]
    assert listed_options("What is 3 - 2?") == []
    assert texts_of(Item("1", lettered, "(B)"), []) == ["<ans>(B)</ans>", "<ans>(A)</ans>", "<ans>(C)</ans>"]


def test_options_are_the_answers_of_a_closed_task() -> None:
    items = [Item(f"{n}", "q", answer) for n, answer in enumerate(("Yes", "No", "Yes", "No"))]
    assert closed_answers(items, 10) == ["No", "Yes"]
    assert closed_answers(items, 1) == closed_answers(items, 0) == []
    assert closed_answers(items[:3], 10) == [], "three items say little about what else may be asked"
    assert closed_answers([Item("1", "q", "Yes")] * 8, 10) == [], "one answer alone would always be certain"
    assert texts_of(items[0], ["No", "Yes"]) == ["<ans>Yes</ans>", "<ans>No</ans>"]
    assert texts_of(Item("9", "q", "Maybe"), ["No", "Yes"]) == ["<ans>Maybe</ans>"]
    options_without_the_answer = Item("9", "q\n- here\n- there", "Yes")
    assert texts_of(options_without_the_answer, ["No", "Yes"]) == ["<ans>Yes</ans>", "<ans>No</ans>"]
