"""What a teacher makes of several responses to one prompt: PAD's teacher score, and how sure the teacher is of it.

    a(y)  mean log-probability of the response's tokens
    m(y)  log of the mean, over all pairs with y in both orders, of the probability of y's letter when the two are
          shown as options and `None` may be said as well
    score = alpha a + (1 - alpha) m

Nothing is generated: the letters and `None` are answers whose probability is asked, so the teacher's own tokenizer says
which tokens they are, and what the prompts have in common is encoded once.

Source  PAD, arXiv:2502.14272, as github.com/EganGu/PAD at 89f2a91 has it; there each pair is shown in one order, and a
        letter is any of the 20 likeliest tokens that holds it. Wording of the prompt ours
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean

from edgedistill.engine import Engine, user

OPTIONS = ("A", "B")
NEITHER = "None"
_LEAST = 1e-8
"""Added to a probability before its logarithm is taken (the released code's)."""


@dataclass(frozen=True)
class Appraisal:
    """Of one prompt's n responses, in their order."""

    log_probs: list[float]
    """a(y), nats per token; empty where alpha is 0."""
    choices: list[float]
    """m(y); empty where alpha is 1."""
    neither: float | None
    """Mean probability of `None` over all pairs, 0-1; None where no pair was shown."""

    def scores(self, alpha: float) -> list[float]:
        """The teacher's score of each response, in nats."""
        if not self.choices:
            return self.log_probs
        if not self.log_probs:
            return self.choices
        both = zip(self.log_probs, self.choices, strict=True)
        return [alpha * likely + (1 - alpha) * chosen for likely, chosen in both]


def choice_prompt(query: str, first: str, second: str) -> str:
    """The two responses as options; the answer is to begin with A, B or None."""
    shown = "\n\n".join(f'{letter}) """{text}"""' for letter, text in zip(OPTIONS, (first, second), strict=True))
    return (
        "Which response answers the query better? Judge by relevance, accuracy, completeness, coherence and clarity."
        f" Say only the letter of the better response; say {NEITHER} where neither will do or they are too alike.\n\n"
        f'Query: """{query}"""\n\n{shown}\n\nThe better response is:'
    )


def appraise(
    teacher: Engine,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    alpha: float,
    on_done: Callable[[int], None] = lambda n: None,
) -> list[Appraisal]:
    """One appraisal per prompt, all in two calls of the engine; `on_done` counts prompts."""
    likely = _log_probs(teacher, prompts, responses) if alpha > 0 else [[] for _ in prompts]
    if alpha == 1:
        on_done(len(prompts))
        return [Appraisal(own, [], None) for own in likely]
    chosen = _choices(teacher, prompts, responses)
    on_done(len(prompts))
    return [Appraisal(own, choices, neither) for own, (choices, neither) in zip(likely, chosen, strict=True)]


def _log_probs(teacher: Engine, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> list[list[float]]:
    conversations = [user(prompt) for prompt, own in zip(prompts, responses, strict=True) for _ in own]
    found = iter(teacher.answer_log_probs(conversations, [text for own in responses for text in own]))
    return [[fmean(next(found) or [0.0]) for _ in own] for own in responses]


def _choices(
    teacher: Engine, prompts: Sequence[str], responses: Sequence[Sequence[str]]
) -> list[tuple[list[float], float]]:
    """m(y) of each response and the mean probability of `None`, prompt by prompt."""
    shown = [
        user(choice_prompt(prompt, own[first], own[second]))
        for prompt, own in zip(prompts, responses, strict=True)
        for first, second in permutations(range(len(own)), 2)
    ]
    said = (*OPTIONS, NEITHER)
    asked = [conversation for conversation in shown for _ in said]
    sums = (math.fsum(tokens) for tokens in teacher.answer_log_probs(asked, [*said] * len(shown)))
    return [choices_of(len(own), sums) for own in responses]


def choices_of(count: int, log_probs: Iterator[float]) -> tuple[list[float], float]:
    """From the log-probabilities of A, B and None for each ordered pair of `count` responses, (0, 1), (0, 2) …"""
    won: list[list[float]] = [[] for _ in range(count)]
    neither = []
    for first, second in permutations(range(count), 2):
        a, b, none = (math.exp(next(log_probs)) for _ in range(3))
        won[first].append(a)
        won[second].append(b)
        neither.append(none)
    return [math.log(fmean(own) + _LEAST) for own in won], fmean(neither)
