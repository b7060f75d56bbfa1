"""Which questions are there already: equal but for case and spacing, or nearly equal by ROUGE-L.

ROUGE-L here is the F1 of the longest common subsequence over tokens, 2 LCS / (n + m). A token is a word, or one sign
that is neither word nor space, so that `1 + 2` and `1 - 2` differ.

Source  Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", sec. 3; Self-Instruct, arXiv:2212.10560v2,
        sec. 2.2, keeps an instruction whose ROUGE-L with every other is below 0.7. Signs as tokens are ours
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgedistill.errors import UsageError
from edgedistill.task import Item, Task, fold

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SURROGATES = range(0xD800, 0xE000)
_OWN_ITEMS = 100
_ENOUGH_ITEMS = 20
"""Fewer say little about how alike a task's questions are."""


def check(task: Task, near: float | None, key: str) -> None:
    """Raises UsageError when most of the task's own questions would be near duplicates of each other.

    Up to 100 validation items are looked at. A teacher that keeps to the task could hardly write a new question then.
    """
    items = task.validation[:_OWN_ITEMS]
    if near is None or len(items) < _ENOUGH_ITEMS:
        return
    known = Known((), (), (), near)
    alike = sum(not known.is_new(item.question) for item in items)
    if alike > len(items) / 2:
        raise UsageError(
            f"{key}: {near:g}, by which {alike} of the first {len(items)} validation items of task `{task.name}` are "
            "near duplicates of another",
            f"set `{key}` to null where the questions of a task are made alike, or raise it",
        )


class Known:
    """The questions of a task, and those that a teacher added. From a ROUGE-L of `near`, 0-1, two are too alike.

    One sign stands for each distinct token, so that the library compares short strings: 5,000 questions of 60 words,
    with 1,000 others and each other, take 5 s on one core.
    """

    def __init__(
        self, seeds: Sequence[Item], validation: Sequence[Item], test: Sequence[Item], near: float | None
    ) -> None:
        parts = {"seed": seeds, "validation": validation, "test": test, "another": ()}
        self._near = near
        self._signs: dict[str, str] = {}
        # Later parts win, so that a clash with the test is reported as such.
        self._exact = {fold(item.question): part for part, items in parts.items() for item in items}
        self._lines = {part: [self._line(item.question) for item in items] for part, items in parts.items()}

    def why_known(self, question: str) -> str | None:
        """`duplicate_of_seed`, `near_duplicate_of_test` …; None for a new question."""
        part = self._exact.get(fold(question))
        if part is not None:
            return f"duplicate_of_{part}"
        if self._near is None:
            return None
        line = self._line(question)
        near = next((part for part in ("test", "validation", "seed", "another") if self._is_near(line, part)), None)
        return near and f"near_duplicate_of_{near}"

    def is_new(self, question: str) -> bool:
        """Whether it was not known; it is from now on."""
        if self.why_known(question):
            return False
        self.add(question)
        return True

    def add(self, question: str) -> None:
        """From now on it is known as `another`."""
        self._exact[fold(question)] = "another"
        self._lines["another"].append(self._line(question))

    def _is_near(self, line: str, part: str) -> bool:
        from rapidfuzz.distance import Indel
        from rapidfuzz.process import extractOne

        # Indel similarity, normalized, is 1 - (n + m - 2 LCS) / (n + m): the F1 of the longest common subsequence.
        found = extractOne(line, self._lines[part], scorer=Indel.normalized_similarity, score_cutoff=self._near)
        return found is not None

    def _line(self, question: str) -> str:
        return "".join(map(self._sign, _TOKEN.findall(question.lower())))

    def _sign(self, token: str) -> str:
        if token not in self._signs:
            number = len(self._signs)
            self._signs[token] = chr(number if number < _SURROGATES.start else number + len(_SURROGATES))
        return self._signs[token]


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L of two questions, 0-1."""
    from rapidfuzz.distance import Indel

    tokens = [_TOKEN.findall(question.lower()) for question in (one, other)]
    return Indel.normalized_similarity(*tokens)
