"""Signal `answer_loglik`: a draft is worth how likely it makes the right answers of the exam. Nothing is generated.

`<ans>ANSWER</ans>` is scored right after the plain prompt with the draft as its one example, in one forward pass where
`icl_accuracy` takes one per token. The student answers at once here, without the reasoning that the example shows, so
this measures the example's question and format more than its way of reasoning.

Credit of an exam item, 0-1, whose natural logarithm the score keeps per item:

    closed questions    probability of the right answer among the options, each weighed by that of its whole text
    open questions      probability per token of the answer's text: exp of the mean log probability

Source  ours; the choice among options is that of multiple-choice evaluation, e.g. Brown et al. 2020,
        arXiv:2005.14165v4, sec. 2.4
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field

from edgedistill.artifacts import Draft, Score
from edgedistill.engine import Engine, user
from edgedistill.options import closed_answers, texts_of
from edgedistill.prompts import Example, plain_prompt
from edgedistill.sections import PreferConfig
from edgedistill.task import Item, Task

VERSION = 1

_DIGITS = 6


class Config(PreferConfig):
    """Options of `signal: answer_loglik`."""

    min_gap: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Smallest difference of two scores that makes a pair. Likelihoods differ by less than hits, and more steadily: on
    40 items 0.02 is about two standard errors of the difference, which takes 0.1 to 0.15 of `icl_accuracy`."""

    most_options: Annotated[int, Field(ge=0)] = 10
    """Distinct answers of the validation items up to which a task counts as closed, so that each answer is weighed
    against the others; 0: only where the question itself lists its options."""


def score(
    drafts: list[Draft], exam: list[Item], task: Task, student: Engine, config: Config, on_done: Callable[[int], None]
) -> list[Score]:
    """One score per draft, in their order: the mean credit of the exam items. `on_done` counts scored items.

    All drafts go into one call, since the engine encodes what the exam items of a draft have in common only once.
    """
    closed = closed_answers(task.validation, config.most_options)
    answers = [texts_of(item, closed) for item in exam]
    conversations, texts = [], []
    for draft in drafts:
        example = (Example(draft.question, draft.rationale),)
        for item, own in zip(exam, answers, strict=True):
            conversations += [user(plain_prompt(task.info.description, item.question, example))] * len(own)
            texts += own
    scored = _Scored(len(drafts) * len(exam), len(texts), on_done)
    log_probs = iter(student.answer_log_probs(conversations, texts, on_done=scored.add))
    found = []
    for draft in drafts:
        values = [round(credit_log([next(log_probs) for _ in own]), _DIGITS) for own in answers]
        found.append(Score(draft.id, draft.task, fmean(map(math.exp, values)), values=values))
    return found


def credit_log(texts: Sequence[Sequence[float]]) -> float:
    """Natural logarithm of an item's credit, from the log probabilities of the tokens of each text, right answer first.

    One text: the mean. Several: that of the first text among them, by the sums.
    """
    if len(texts) == 1:
        return fmean(texts[0])
    sums = [math.fsum(tokens) for tokens in texts]
    most = max(sums)
    return sums[0] - most - math.log(math.fsum(math.exp(total - most) for total in sums))


class _Scored:
    """Tells how many items are done, from how many texts are."""

    def __init__(self, items: int, texts: int, on_done: Callable[[int], None]) -> None:
        self._items, self._texts, self._on_done = items, texts, on_done
        self._done = self._told = 0

    def add(self, texts: int) -> None:
        self._done += texts
        items = self._done * self._items // self._texts
        self._on_done(items - self._told)
        self._told = items
