"""Choosing responses that differ."""

from __future__ import annotations

from random import Random

from edgedistill.responses import spread


def levenshtein(a: str, b: str) -> int:
    """The textbook's table."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def test_the_farthest_is_taken_next() -> None:
    """From `aaaa`: `bbbb` is 4 away; then `aabb` is 2 from both, `aaab` 1 from the first."""
    assert spread(["aaaa", "aaab", "aabb", "bbbb"], 3) == ["aaaa", "bbbb", "aabb"]


def test_equal_and_empty_texts_are_no_responses() -> None:
    assert spread(["on", "on", "", "  ", "off"], 2) == ["on", "off"]
    assert spread(["on", "on", "", "off"], 3) is None


def test_it_is_greedy_farthest_point_on_any_texts() -> None:
    """Against the definition, with distances from the textbook."""
    draw = Random(0)
    for _ in range(50):
        texts = list({"".join(draw.choices("ab ", k=draw.randint(1, 8))).strip() + "x" for _ in range(7)})
        if len(texts) < 4:
            continue
        taken = [texts[0]]
        while len(taken) < 4:
            gaps = [min(levenshtein(text, other) for other in taken) for text in texts]
            taken.append(texts[gaps.index(max(gaps))])
        assert spread(texts, 4) == taken
