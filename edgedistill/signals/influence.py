"""Signal `influence`: a draft is worth how much likelier the exam's right answers get when the student learns it.

The student takes one optimizer step on the draft (plain prompt of its question, its rationale), then the exam's answers
`<ans>ANSWER</ans>` are scored right after their plain prompts, and the step is taken back. Nothing is generated, and
what is scored is learning, where the other signals score imitation of an example in the prompt.

Credit of an exam item, 0-1, whose natural logarithm the score keeps per item:

    sigmoid(d / 10), d = rise of the mean log-probability of the answer's tokens = fall of the item's loss, in nats

0.5 is a draft that changes nothing, above it one that helps. It only keeps d within 0 and 1, where every signal's
credits are: up to 2 nats it is 0.5 + d / 40 to a part in 300, so the mean of the credits ranks drafts by the fall of
the exam's mean loss, as the paper does.

Source  Montessori-Instruct, arXiv:2410.14208, sec. 3.2: local data influence, loss on a reference set after one step on
        a sample minus before. The form of the credit is ours, and so is the state of the optimizer (ml/influence.py)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from edgedistill.artifacts import Draft, Score
from edgedistill.engine import Engine, user
from edgedistill.errors import UsageError
from edgedistill.prompts import plain_prompt
from edgedistill.sections import PreferConfig
from edgedistill.task import Item, Task

VERSION = 2  # 2: ranks by the mean fall of the loss

_DIGITS = 12
_WIDTH = 10.0
"""Nats per token. Wide enough that credits are proportional to what a single step does."""


class Config(PreferConfig):
    """Options of `signal: influence`."""

    trains_student: ClassVar[bool] = True

    learning_rate: Annotated[float, Field(gt=0)] = 5.0e-6
    """Of the one step (Montessori-Instruct: 5e-6). Students of a few million parameters take up to 1e-3."""
    min_gap: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Smallest difference of two scores that makes a pair. How large differences are goes with the learning rate, so
    it is 0 here; `strength: drop` leaves out the unsure ones."""


def score(
    drafts: list[Draft], exam: list[Item], task: Task, student: Engine, config: Config, on_done: Callable[[int], None]
) -> list[Score]:
    """One score per draft, in their order: the mean credit of the exam items. `on_done` counts scored items.

    Raises  UsageError when the student's engine cannot train, as only `hf` does
    """
    from edgedistill.engines.hf import HfEngine
    from edgedistill.ml import influence

    if not isinstance(student, HfEngine):
        raise UsageError(
            "prefer.signal: `influence` trains the student for one step, which only engine `hf` can",
            "set `student.engine: hf`, or choose another signal",
        )
    prompts = [user(plain_prompt(task.info.description, item.question)) for item in exam]
    answers = [f"<ans>{item.answer}</ans>" for item in exam]
    learned = influence.encode(student.decoder, [_row(task, draft.question, draft.rationale) for draft in drafts])
    seeds = [_row(task, seed.question, seed.rationale or f"<ans>{seed.answer}</ans>") for seed in task.seeds]
    stepper = influence.Stepper(student.decoder, influence.encode(student.decoder, seeds), config.learning_rate)
    try:
        before = [fmean(tokens) for tokens in student.answer_log_probs(prompts, answers)]
        found = []
        for draft, turn in zip(drafts, learned, strict=True):
            with stepper.step(turn):
                after = [fmean(tokens) for tokens in student.answer_log_probs(prompts, answers, on_done=on_done)]
            values = [round(credit_log(b - a), _DIGITS) for a, b in zip(before, after, strict=True)]
            found.append(Score(draft.id, draft.task, fmean(map(math.exp, values)), values=values))
    finally:
        stepper.close()
    return found


def _row(task: Task, question: str, answer: str) -> tuple[str, str]:
    return plain_prompt(task.info.description, question), answer


def credit_log(rise: float) -> float:
    """Natural logarithm of the credit of a rise, exact for large rises of either sign."""
    part = rise / _WIDTH
    return -math.log1p(math.exp(-part)) if part > 0 else part - math.log1p(math.exp(part))


def rise_of(credit: float) -> float:
    """The rise in log-probability that a credit stands for, in nats per token."""
    return _WIDTH * (math.log(credit) - math.log1p(-credit))
