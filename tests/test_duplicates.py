"""Which questions count as there already."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from edgedistill import duplicates
from edgedistill.duplicates import rouge_l
from edgedistill.errors import UsageError
from edgedistill.files import write_rows
from edgedistill.task import Item, Task, TaskInfo


def known_by(near, seeds=(), validation=(), test=()):
    parts = ([Item(question, question, "") for question in part] for part in (seeds, validation, test))
    return duplicates.Known(*parts, near)


def lcs(one: list[str], other: list[str]) -> int:
    """Longest common subsequence by the textbook's table."""
    before = [0] * (len(other) + 1)
    for token in one:
        row = [0]
        for place, match in enumerate(other):
            row.append(before[place] + 1 if token == match else max(before[place + 1], row[-1]))
        before = row
    return before[-1]


def test_rouge_l_by_hand():
    """`the cat sat down` and `the cat lay down there`: 3 in common, 2 * 3 / (4 + 5)."""
    assert rouge_l("The cat sat down", "the cat lay down there") == pytest.approx(6 / 9)
    assert rouge_l("a b", "c d e") == 0
    assert rouge_l("1 + 2", "1 - 2") == pytest.approx(4 / 6)
    assert rouge_l("Is it  so?", "is it so ?") == 1


def test_rouge_l_is_that_of_the_textbook():
    random = Random(3)
    for _ in range(100):
        one, other = ([random.choice("abcde") for _ in range(random.randint(1, 90))] for _ in range(2))
        expected = 2 * lcs(one, other) / (len(one) + len(other))
        assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(expected)


@pytest.mark.parametrize("near", [0.3, 0.5, 0.7, 0.9])
def test_known_agrees_with_rouge_l(near):
    random = Random(4)
    lines = [" ".join(random.choice("abcd") for _ in range(random.randint(2, 9))) for _ in range(90)]
    known, added = known_by(near), []
    for line in lines:
        scores = [2 * lcs(line.split(), old.split()) / (len(line.split()) + len(old.split())) for old in added]
        expected = None
        if line in added:
            expected = "duplicate_of_another"
        elif max(scores, default=0) >= near - 1e-9:
            expected = "near_duplicate_of_another"
        assert known.why_known(line) == expected
        if expected is None:
            known.add(line)
            added.append(line)
    assert 2 <= len(added) < 90


def test_the_threshold_itself_counts():
    """7 of 10 words in common in both: 0.7."""
    assert known_by(0.7, seeds=("a b c d e f g h i j",)).why_known("a b c d e f g x y z") == "near_duplicate_of_seed"
    assert known_by(0.71, seeds=("a b c d e f g h i j",)).why_known("a b c d e f g x y z") is None


def test_a_clash_with_the_test_is_told_before_one_with_a_seed():
    known = known_by(0.7, seeds=("one two three four",), test=("one two three five",))
    assert known.why_known("ONE  two three four") == "duplicate_of_seed"
    assert known.why_known("one two three") == "near_duplicate_of_test"
    assert known.why_known("six seven eight") is None
    known.add("six seven eight")
    assert known.why_known("Six Seven Eight") == "duplicate_of_another"
    assert known.why_known("six seven eight nine") == "near_duplicate_of_another"


def test_none_looks_for_equal_questions_only():
    known = known_by(None, validation=("one two three four",))
    assert known.why_known("one two three") is None
    assert known.why_known("one two three  FOUR") == "duplicate_of_validation"


def test_more_words_than_signs_below_the_surrogates():
    """A sign that is half a character could not be compared; there are 55,296 below them."""
    known = known_by(0.7, seeds=(" ".join(f"w{n}" for n in range(56_000)),))
    assert known.why_known("w55900 w55901 w55902 w55903") is None
    known.add("w55900 w55901 w55902 w55903")
    assert known.why_known("w55900 w55901 w55902") == "near_duplicate_of_another"


def test_questions_without_a_word_are_compared_by_their_signs():
    known = known_by(0.7, seeds=("[ ( { < >",))
    assert known.why_known("[ ( { < }") == "near_duplicate_of_seed"
    assert known.why_known("} } ) ]") is None


def task_of(folder: Path, questions: list[str]) -> Task:
    write_rows(folder / "validation.jsonl", ({"id": q, "question": q, "answer": ""} for q in questions))
    info = TaskInfo(kind="tagged_answer", title="t", description="d", licence="MIT")
    return Task("maze", folder, info)


def test_a_limit_by_which_the_task_itself_repeats_is_refused_before_the_start(tmp_path):
    """Nine words in common of ten: 0.9. The first of 30 is new, the other 29 are near to it."""
    alike = task_of(tmp_path / "maze", [f"go one two three four five six seven eight {n}" for n in range(30)])
    with pytest.raises(
        UsageError, match=r"tailor.near_duplicate: 0.7, by which 29 of the first 30 .* `maze`"
    ) as refused:
        duplicates.check(alike, 0.7, "tailor.near_duplicate")
    assert "to null" in refused.value.hint
    for fine in (None, 0.95):
        duplicates.check(alike, fine, "tailor.near_duplicate")
    duplicates.check(task_of(tmp_path / "other", [f"q{n} w{n}" for n in range(30)]), 0.7, "tailor.near_duplicate")
    few = task_of(tmp_path / "few", [f"go one two three four five six seven eight {n}" for n in range(5)])
    duplicates.check(few, 0.7, "tailor.near_duplicate")
