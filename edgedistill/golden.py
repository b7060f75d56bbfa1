"""Golden cases: what the float student does with a conversation, for runtimes to reproduce, here and on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgedistill.engine import Engine, Messages
from edgedistill.errors import StageFailed, UsageError
from edgedistill.generic_prompts import PROMPTS
from edgedistill.shift import HeldOut

TOP_K = 20
"""First tokens that a golden case keeps; all others together are one more bin."""
STEP_K = 10
"""The same of each position of the answer."""

SYSTEM = "You are a helpful assistant. Answer in one line."
LONG_CHARACTERS = 1200
SPARE = 8
"""Plain questions beyond those asked for, as many as the student may refuse odd cases."""
ODD = ("system", "turns", "empty", "long", "unicode", "system-turns")
"""What apps send beside one plain question."""
UNICODE = "Grüße, 你好 — ¿qué tal? \u0645\u0631\u062d\u0628\u0627 e\u0301 👩\u200d👩\u200d👧 ½\u00a0°C\t“x”\r\n  end  "
"""Composed and combining accents, four scripts, a joined emoji, odd spaces."""


class Student(Engine, Protocol):
    """The float student: an engine that can be asked about its vocabulary too."""

    @property
    def context(self) -> int:
        """Tokens that it was trained for."""

    def as_read(self, text: str) -> str:
        """The text as its tokenizer gives it back: composed, with single spaces … as that tokenizer does."""

    def text_ids(self, text: str) -> list[int]:
        """Of a text as it stands: no template, no begin token."""

    def begin_ids(self) -> list[int]:
        """What its tokenizer puts before a text: the begin token, or nothing."""

    def piece(self, token_id: int) -> str:
        """The text of one token, special ones as they are written."""

    def added_ids(self) -> frozenset[int]:
        """Special and added tokens: those that are looked for in a text before it is split."""

    def unknown_ids(self) -> frozenset[int]:
        """What stands for a text that its vocabulary has no token for."""

    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids, without special tokens."""

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""

    def next_log_probs(self, ids: Sequence[int]) -> Any:
        """(ids, vocabulary) float32 natural-log probabilities of what follows each of the ids."""


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
    pieces: list[str] = field(default_factory=list)
    """The text of each of the ids alone; part of a character is U+FFFD."""
    added: list[int] = field(default_factory=list)
    """Which ids of the prompt are special or added tokens."""
    stop_ids: list[int] = field(default_factory=list)
    """Tokens that end an answer."""
    answer: list[int] | None = None
    """The ids of `greedy`, without the one that ends it. None in files of bundles that were made before these were
    kept."""
    steps: list[list[tuple[int, float]]] = field(default_factory=list)
    """At each token of the answer, and of what follows it: id and natural-log probability of the likeliest ones. Empty
    in files of bundles that were made before these were kept."""


def conversations(questions: Sequence[str], count: int) -> list[tuple[str, list[dict[str, str]]]]:
    """(id, messages): the odd ones first, then plain questions until there are `count`, and some to spare for those
    that the student cannot be asked. At least half are plain: these are what the app will ask. Where they are too few,
    general ones follow.
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
        (
            "system-turns",
            [_said("system", SYSTEM), _said("user", second), _said("assistant", "No."), _said("user", first)],
        ),
    ]
    assert tuple(name for name, _ in odd) == ODD
    plain = [(f"question-{n}", [_said("user", text)]) for n, text in enumerate(questions, start=1)]
    other = [text for text in PROMPTS if text not in questions]
    general = [(f"general-{n}", [_said("user", text)]) for n, text in enumerate(other, start=1)]
    return [*odd[: count // 2], *plain, *general][: count + SPARE]


def left_out(asked: Sequence[tuple[str, list[dict[str, str]]]], kept: Sequence[GoldenCase]) -> list[str]:
    """The odd conversations that the student could not be asked."""
    found = {case.id for case in kept}
    return [name for name, _ in asked if name in ODD and name not in found]


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def make(
    cases: Sequence[tuple[str, list[dict[str, str]]]], student: Student, *, count: int, max_tokens: int, context: int
) -> list[GoldenCase]:
    """What the float student does with the first `count` that it can be asked.

    A template that refuses a conversation (Gemma: no system role) loses that case, and so does a conversation that does
    not fit; the long one is shortened until it does. The texts are as the student's tokenizer reads them: no runtime of
    ours composes Unicode or merges spaces.

    Raises  StageFailed when no case is left
    """
    import jinja2

    context = min(context, student.context)
    kept: list[tuple[str, list[dict[str, str]]]] = []
    for name, messages in cases:
        try:
            fitting = _fitting(messages, student, context - max_tokens)
        except (jinja2.TemplateError, UsageError):
            continue
        if fitting and len(kept) < count:
            kept.append((name, fitting))
    if not kept:
        raise StageFailed(
            f"the student's chat template refuses each of {len(cases)} golden cases, or none fits into {context} "
            f"tokens with an answer of {max_tokens}",
            "raise `validate.context`, or lower `validate.max_tokens`",
        )
    said = [messages for _, messages in kept]
    first = student.first_token_log_probs(said)
    greedy = student.answer_ids(said, max_tokens=max_tokens)
    return [
        _case(name, messages, student, log_probs, answer)
        for (name, messages), log_probs, answer in zip(kept, first, greedy, strict=True)
    ]


def _case(name: str, messages: list[dict[str, str]], student: Student, log_probs: Any, answer: list[int]) -> GoldenCase:
    ids = student.token_ids(messages)
    return GoldenCase(
        id=name,
        messages=messages,
        prompt=student.render(messages),
        token_ids=ids,
        top=top_of(log_probs),
        greedy=student.text_of(answer),
        pieces=[student.piece(token) for token in ids],
        added=sorted(student.added_ids() & set(ids)),
        stop_ids=sorted(student.stop_ids()),
        answer=list(answer),
        steps=[top_of(row, STEP_K) for row in student.step_log_probs(messages, answer)],
    )


def _fitting(messages: list[dict[str, str]], student: Student, room: int) -> list[dict[str, str]]:
    """The conversation if it has at most `room` tokens, halved while it is still a long one; empty if it cannot be
    asked: too long, without a single token, or with a sign of the template's that the vocabulary lacks, on which
    llama.cpp may end the whole process.
    """
    messages = _as_read(messages, student)
    if student.unknown_ids() & set(student.token_ids(messages)):
        return []
    while (size := len(student.token_ids(messages))) > room:
        text = messages[-1]["content"]
        if len(text) <= LONG_CHARACTERS // 8:
            return []
        messages = _as_read([*messages[:-1], _said("user", text[: len(text) // 2])], student)
    return messages if size else []


def _as_read(messages: Messages, student: Student) -> list[dict[str, str]]:
    return [{**message, "content": student.as_read(message["content"])} for message in messages]


def top_of(log_probs: Any, k: int = TOP_K) -> list[tuple[int, float]]:
    """The k most likely ids with their log probabilities, rounded so that a file can hold them exactly."""
    order = (-log_probs).argsort(kind="stable")[:k]
    return [(int(token), round(float(log_probs[token]), 6)) for token in order]


def from_rows(rows: Sequence[dict[str, Any]]) -> list[GoldenCase]:
    return [
        GoldenCase(**{**row, "top": _pairs(row["top"]), "steps": [_pairs(step) for step in row.get("steps", [])]})
        for row in rows
    ]


def _pairs(row: Sequence[Sequence[Any]]) -> list[tuple[int, float]]:
    return [(int(token), float(log_prob)) for token, log_prob in row]


def along(cases: Sequence[GoldenCase]) -> HeldOut | None:
    """What the cases keep of the float student's distributions along its answers; None where one keeps nothing.

    It is less than the student itself would tell, so a KL from it is never larger than the one that `validate` found.
    """
    import numpy as np

    if not cases or not all(case.steps for case in cases):
        return None
    kept = np.array([step for case in cases for step in case.steps])
    rows: list[tuple[Messages, list[int]]] = [(case.messages, case.answer or []) for case in cases]
    return HeldOut(rows, kept[..., 0].astype(np.int32), kept[..., 1].astype(np.float32))
