"""Signal `icl_accuracy`: a draft is worth how many exam items the student gets right with it as its one example.

Source   ARTE, arXiv:2406.19227v1, eq. 1 to 4 and appendix J
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from edgedistill.artifacts import Draft, Score
from edgedistill.engine import Engine, user
from edgedistill.prompts import Example, extract_answer, plain_prompt
from edgedistill.sections import PreferConfig
from edgedistill.task import Item, Task

VERSION = 1


class Config(PreferConfig):
    """Options of `signal: icl_accuracy`."""

    max_tokens: Annotated[int, Field(ge=4)] = 128
    """Room for one answer of the student. What it has not answered by then counts as wrong."""


def score(
    drafts: list[Draft], exam: list[Item], task: Task, student: Engine, config: Config, on_done: Callable[[int], None]
) -> list[Score]:
    """One score per draft, in their order: the share of exam items that the student answers rightly, greedily.

    All drafts go into one call, since the engine encodes what the exam items of a draft have in common only once.
    An answer without `<ans>…</ans>` is wrong. `on_done` counts answered items.
    """
    asked = [
        user(plain_prompt(task.info.description, item.question, (Example(draft.question, draft.rationale),)))
        for draft in drafts
        for item in exam
    ]
    texts = student.generate(asked, max_tokens=config.max_tokens, stop="</ans>", on_done=on_done)
    scores = []
    for number, draft in enumerate(drafts):
        answers = texts[number * len(exam) : (number + 1) * len(exam)]
        right = [
            task.grader.is_right(extract_answer(answer), item.answer)
            for answer, item in zip(answers, exam, strict=True)
        ]
        hits = "".join("1" if hit else "0" for hit in right)
        scores.append(Score(draft.id, draft.task, hits.count("1") / len(exam), hits))
    return scores
