"""The texts that teacher and student see, and the way back from their answers.

One place, because training data, in-context scoring, golden cases and the app on the device must all show a model the
same words. Everything here is plain string work: no tokenizer, no model.

Source  ARTE, arXiv:2406.19227v1: question prompt Table 11, rationale prompts Table 12, one-shot template Table 13.
        The wording is ours; the order of the parts and the tags are the paper's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

OPENER = "Let's think step by step."
ANSWER_RULE = "Put the final answer in <ans></ans>."

_ANSWER = re.compile(r"<ans>(.*?)</ans>", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A solved question: what a prompt shows as an example. `rationale` ends with its `<ans>` answer."""

    question: str
    rationale: str


@dataclass(frozen=True)
class Style:
    """A way of asking for a rationale (ARTE, Table 12). `has_opener` is False for the bare task description."""

    name: str
    instruction: str
    has_opener: bool = True


class Asking(Protocol):
    """A style, of this module or of a recipe."""

    @property
    def instruction(self) -> str: ...

    @property
    def has_opener(self) -> bool: ...


# ARTE, Table 12: the four slots that its published prompts follow.
STYLES = (
    Style("procedure", "You are an expert. Name each part in turn."),
    Style("rules", "First recall the rules that apply, then solve."),
    Style("bare", "", has_opener=False),
    Style("elimination", "Read the question, rule out what is wrong, then choose."),
)


def plain_prompt(description: str, question: str, examples: tuple[Example, ...] = ()) -> str:
    """The plain step-by-step prompt, with solved examples before the question (ARTE, Table 13: one example)."""
    shown = "".join(f"Question: {e.question}\nAnswer: {OPENER} {e.rationale}\n\n" for e in examples)
    return f"{description} {ANSWER_RULE}\n\n{shown}Question: {question}\nAnswer: {OPENER}"


def styled_prompt(description: str, question: str, style: Asking) -> str:
    """Ask for a rationale in one style (ARTE, Table 12)."""
    head = f"{style.instruction} " if style.instruction else ""
    tail = f"\nAnswer: {OPENER}" if style.has_opener else "\nAnswer:"
    return f"{head}{description} {ANSWER_RULE}\n\nQuestion: {question}{tail}"


def question_prompt(task: str, description: str, seeds: list[tuple[str, str]], count: int) -> str:
    """Ask for `count` more questions like the (question, answer) seeds (ARTE, Table 11: three seeds, five more)."""
    shown = "\n".join(question_block(number, q, a) for number, (q, a) in enumerate(seeds, start=1))
    return f"Task: {task}. {description}\nWrite {count} more questions in the same form.\n\n{shown}"


def question_block(number: int, question: str, answer: str) -> str:
    """One question in the tagged form of ARTE, Table 11."""
    return f"<Question_{number}><input>{question}</input><target>{answer}</target></Question_{number}>"


def extract_answer(text: str) -> str | None:
    """The content of the last whole `<ans>…</ans>`, stripped; None when the text has none."""
    found = _ANSWER.findall(text)
    return found[-1].strip() if found else None


def excerpt(text: str, length: int = 160) -> str:
    """The start of what a model said, in quotes on one line, for a message."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return f'"{line[:length]}{"…" if len(line) > length else ""}"'
