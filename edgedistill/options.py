"""Questions with a few possible answers, and which of them a model takes to be right, without generating a word.

An item offers options when its question lists them, or when the task has few distinct answers that come again and
again. The text of each is `<ans>OPTION</ans>`, right after the prompt; the model's choice is the likeliest whole text.

Source  Brown et al. 2020, arXiv:2005.14165v4, sec. 2.4
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgedistill.task import Item

_LETTERED = re.compile(r"^\s*(\([A-Z]\))\s+\S", re.MULTILINE)
_LISTED = re.compile(r"^\s*-\s+(\S.*?)\s*$", re.MULTILINE)


def texts_of(item: Item, closed: Sequence[str]) -> list[str]:
    """What is scored for an item: the right answer first, then the other options, as the student would write them.

    closed  the task's answers, where they are few (`closed_answers`)
    """
    options = next((found for found in (listed_options(item.question), closed) if item.answer in found), ())
    others = [option for option in options if option != item.answer]
    return [f"<ans>{answer}</ans>" for answer in (item.answer, *others)]


def listed_options(question: str) -> list[str]:
    """The answers that a question offers: `(A)`, `(B)` … at the start of a line, or the lines after `- `."""
    return list(dict.fromkeys(_LETTERED.findall(question) or _LISTED.findall(question)))


def closed_answers(items: Sequence[Item], most: int) -> list[str]:
    """The distinct answers of the items, sorted, when they are at most this many and come twice on average."""
    answers = sorted({item.answer for item in items})
    return answers if 2 <= len(answers) <= most and 2 * len(answers) <= len(items) else []
