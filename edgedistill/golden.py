"""Golden cases: what the float student does with a conversation, for runtimes to reproduce, here and on the device."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.engine import Engine
from edgedistill.errors import StageFailed, UsageError

TOP_K = 20
"""First tokens that a golden case keeps; all others together are one more bin."""

SYSTEM = "You are a helpful assistant. Answer in one line."
LONG_CHARACTERS = 1200
UNICODE = "Grüße, 你好 — ¿qué tal? \u0645\u0631\u062d\u0628\u0627 e\u0301 👩\u200d👩\u200d👧 ½\u00a0°C\t“x”\r\n  end  "
"""Composed and combining accents, four scripts, a joined emoji, odd spaces."""


@dataclass(frozen=True)
class GoldenCase:
    """One row of golden.jsonl."""

    id: str
    messages: list[dict[str, str]]
    prompt: str
    token_ids: list[int]
    top: list[tuple[int, float]]
    """First answer token: id and natural-log probability, most likely first."""
    greedy: str


def conversations(questions: Sequence[str], count: int) -> list[tuple[str, list[dict[str, str]]]]:
    """(id, messages): the odd ones first, then plain questions until there are `count`. At least half are plain: these
    are what the app will ask.
    """
    first, second = questions[0], questions[1 % len(questions)]
    long = " ".join(questions)[:LONG_CHARACTERS]
    while len(long) < LONG_CHARACTERS:
        long = f"{long} {first}"[:LONG_CHARACTERS]
    odd = [
        ("system", [_said("system", SYSTEM), _said("user", first)]),
        ("turns", [_said("user", first), _said("assistant", "Yes.\n"), _said("user", second)]),
        ("empty", [_said("user", "")]),
        ("long", [_said("user", long)]),
        ("unicode", [_said("user", UNICODE)]),
    ]
    plain = [(f"question-{n}", [_said("user", text)]) for n, text in enumerate(questions, start=1)]
    return [*odd[: min(count // 2, len(plain))], *plain][:count]


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def make(
    cases: Sequence[tuple[str, list[dict[str, str]]]], student: Engine, *, max_tokens: int, context: int
) -> list[GoldenCase]:
    """What the float student does. A template that refuses a conversation (Gemma: no system role) loses that case, and
    so does a conversation that does not fit; the long one is shortened until it does. Where the tokenizer composes
    Unicode, the text is composed: no runtime of ours does it.

    Raises  StageFailed when no case is left
    """
    import jinja2

    kept = []
    for name, messages in cases:
        try:
            fitting = _fitting(messages, student, context - max_tokens)
        except (jinja2.TemplateError, UsageError):
            continue
        if fitting:
            kept.append((name, _composed(fitting, student)))
    if not kept:
        raise StageFailed(
            f"the student's chat template refuses each of {len(cases)} golden cases, or none fits into {context} "
            f"tokens with an answer of {max_tokens}",
            "raise `validate.context`, or lower `validate.max_tokens`",
        )
    said = [messages for _, messages in kept]
    first = student.first_token_log_probs(said)
    greedy = student.generate(said, max_tokens=max_tokens)
    return [
        GoldenCase(name, messages, student.render(messages), student.token_ids(messages), top_of(log_probs), answer)
        for (name, messages), log_probs, answer in zip(kept, first, greedy, strict=True)
    ]


def _fitting(messages: list[dict[str, str]], student: Engine, room: int) -> list[dict[str, str]]:
    """The conversation if it has at most `room` tokens, halved while it is still a long one; empty if it cannot be."""
    while len(student.token_ids(messages)) > room:
        text = messages[-1]["content"]
        if len(text) <= LONG_CHARACTERS // 8:
            return []
        messages = [*messages[:-1], _said("user", text[: len(text) // 2])]
    return messages


def _composed(messages: list[dict[str, str]], student: Engine) -> list[dict[str, str]]:
    """The conversation in Unicode's composed form (NFC) where that is the same to the student."""
    composed = [{**message, "content": unicodedata.normalize("NFC", message["content"])} for message in messages]
    return composed if student.token_ids(composed) == student.token_ids(messages) else messages


def composes(student: Engine) -> bool:
    """Whether the student's tokenizer composes Unicode, as that of Qwen2 does."""
    asked = [_said("user", UNICODE)]
    return _composed(asked, student) != asked


def top_of(log_probs: Any, k: int = TOP_K) -> list[tuple[int, float]]:
    """The k most likely ids with their log probabilities, rounded so that a file can hold them exactly."""
    order = (-log_probs).argsort(kind="stable")[:k]
    return [(int(token), round(float(log_probs[token]), 6)) for token in order]


def from_rows(rows: Sequence[dict[str, Any]]) -> list[GoldenCase]:
    return [GoldenCase(**{**row, "top": [(int(i), float(p)) for i, p in row["top"]]}) for row in rows]
