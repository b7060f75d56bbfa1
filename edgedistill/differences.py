"""What is wrong where a runtime does not reproduce a golden case: one sentence that names the fault."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Protocol

from edgedistill.golden import GoldenCase

TIE_NATS = 0.05
"""Two next tokens that are this close may change places by rounding alone."""
_LIKELY = 0.01
"""Share of a first token from which its place among the others counts."""


class Words(Protocol):
    """What is asked of a runtime."""

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids; bytes that are no whole character become U+FFFD."""


def text_difference(case: GoldenCase, prompt: str) -> str:
    if prompt == case.prompt:
        return ""
    place = first_difference(case.prompt, prompt)
    return (
        f"case {case.id}: prompt text differs at character {place}: expected {around(case.prompt, place)}, got "
        f"{around(prompt, place)}; the chat template in the file is not the student's"
    )


def begin_difference(case: GoldenCase, ids: Sequence[int]) -> str:
    """Only the begin token differs: the most frequent mistake, and it hardly shows in the answers."""
    start = f"case {case.id}: token ids differ"
    if list(ids[1:]) == case.token_ids and len(ids) > 1 and ids[0] == ids[1]:
        return f"{start}: the begin token {ids[0]} is doubled"
    if list(ids[1:]) == case.token_ids:
        return f"{start}: the runtime puts a begin token {ids[0]} before the prompt, which the student never saw"
    if case.token_ids[1:] == list(ids):
        return f"{start}: the begin token {case.token_ids[0]} is missing"
    return ""


def end_difference(case: GoldenCase, stop_ids: frozenset[int]) -> str:
    """A runtime may stop at more tokens than the student; one that it lacks lets answers run on."""
    missing = [token for token in case.stop_ids if token not in stop_ids]
    if not missing:
        return ""
    known = dict(zip(case.token_ids, case.pieces, strict=False))
    names = ", ".join(f"{token} {known[token]!r}" if token in known else str(token) for token in missing)
    return f"the end token {names} is missing: it does not end an answer in this file, so answers would run on"


def ids_difference(case: GoldenCase, ids: Sequence[int], runtime: Words) -> str:
    """The first position where the ids differ, and what is wrong there."""
    if list(ids) == case.token_ids:
        return ""
    place = first_difference(case.token_ids, ids)
    expected, got = (row[place] if place < len(row) else "none" for row in (case.token_ids, ids))
    reason = "the file's tokenizer is not the student's"
    if place < min(len(case.pieces), len(case.token_ids)):
        reason = _why(case, place, list(ids[place:]), runtime) or reason
    elif place == len(case.token_ids) and got in case.stop_ids:
        reason = f"the runtime puts the end token {got} after the prompt"
    return f"case {case.id}: token ids differ at position {place}: expected {expected}, got {got}; {reason}"


def _why(case: GoldenCase, place: int, rest: list[int], runtime: Words) -> str:
    """What became of the student's token at a place; empty where nothing plain can be said."""
    token, piece = case.token_ids[place], case.pieces[place]
    if token in case.added:
        return f"the added token {piece!r} is lost, the runtime reads it as text"
    if rest and "\ufffd" not in piece and runtime.text_of(rest[:1]).strip() == piece.strip():
        return f"the vocabulary is in another order, {piece!r} is another token in the file"
    return ""


def words_difference(case: GoldenCase, runtime: Words) -> str:
    """The student's own answer, from its ids back to text: whatever the weights are, this must be the same."""
    if case.answer is None:
        return ""
    text = runtime.text_of(case.answer)
    if is_same(text, case.greedy):
        return ""
    place = first_difference(case.greedy, text)
    return (
        f"case {case.id}: the same answer ids give another text, from character {place} on: expected "
        f"{around(case.greedy, place)}, got {around(text, place)}; the file's tokenizer is not the student's"
    )


def kl_difference(case: GoldenCase, kl: float, limit: float, is_float: bool) -> str:
    if kl <= limit:
        return ""
    return (
        f"case {case.id}: the first token's distribution is {kl:.3g} nats from the float student's, the limit is "
        f"{limit:.3g}; {_of_weights(is_float)}"
    )


def answers_difference(case: str, own: float, mean: float, limit: float, is_float: bool) -> str:
    """`mean` over the positions of all golden answers, `own` over those of the case, which is the furthest."""
    if mean <= limit:
        return ""
    return (
        f"case {case}: over the golden answers the distributions are {mean:.3g} nats from the float student's on "
        f"average ({own:.3g} in this case), the limit is {limit:.3g}; {_of_weights(is_float)}"
    )


def _of_weights(is_float: bool) -> str:
    if is_float:
        return "the weights in the file are not the student's, or were damaged on the way"
    return "this quantization changes the student too much, or the weights are not the student's"


def order_difference(case: GoldenCase, log_probs: Any) -> str:
    """Two likely first tokens that change places though they are no tie."""
    likely = [(token, log_prob) for token, log_prob in case.top if log_prob >= math.log(_LIKELY)]
    for place, (token, log_prob) in enumerate(likely):
        for other, other_log in likely[place + 1 :]:
            if log_prob - other_log > TIE_NATS and not _at(log_probs, token) > _at(log_probs, other):
                return (
                    f"case {case.id}: first tokens are ranked otherwise: {other} before {token}, which the float "
                    f"student holds {log_prob - other_log:.2f} nats likelier; {_of_weights(is_float=True)}"
                )
    return ""


def answer_difference(case: GoldenCase, said: Sequence[int], text: str, steps: Any, max_tokens: int) -> tuple[str, str]:
    """The difference of two greedy answers, or none and a note, when it is rounding that decided.

    The runtime is led along the student's answer. Wherever it likes another token more than the student's, the two must
    be a tie; then the rest of the answer is what it would have said behind the student's choice. So must they where the
    answers part: else it does not compute alike when it reads and when it writes.

    said    ids of the runtime's own answer
    steps   (answer + 1, vocabulary) log probabilities of the runtime at each position of the student's answer
    """
    assert case.answer is not None
    golden = [[token] for token in case.answer]
    if len(golden) < max_tokens:  # else it was cut, and nothing is known of its end
        golden.append(case.stop_ids)
    behind = [float(row.max()) - _likeliest(row, tokens) for row, tokens in zip(steps, golden, strict=False)]
    parted = first_difference(case.answer, said)
    if parted < len(golden):
        own = [said[parted]] if parted < len(said) else case.stop_ids
        behind[parted] = max(behind[parted], float(steps[parted].max()) - _likeliest(steps[parted], own), key=_worse)
    wrong = next((place for place, gap in enumerate(behind) if not gap <= TIE_NATS), None)
    if wrong is None:
        gap = max(behind, default=0.0)
        return "", f"the answers part at token {parted}, at a tie of {gap:.4f} nats; the rest is the student's"
    at = first_difference(case.greedy, text)
    return (
        f"case {case.id}: the greedy answer differs at character {at}: expected {around(case.greedy, at)}, got "
        f"{around(text, at)}; at token {wrong} the two are {behind[wrong]:.2f} nats apart in the runtime, no tie",
        "",
    )


def _likeliest(row: Any, tokens: Sequence[int]) -> float:
    return max((_at(row, token) for token in tokens), default=-math.inf)


def _worse(gap: float) -> float:
    return math.inf if math.isnan(gap) else gap


def _at(row: Any, token: int) -> float:
    """The log probability of a token; none where the runtime has no such row."""
    return float(row[token]) if token < len(row) else -math.inf


def is_same(text: str, other: str) -> bool:
    """Two answers, but for what libraries do as they please: one or several U+FFFD for bytes that are no whole
    character, and the space before a first word, or behind the last one, that SentencePiece writes.
    """
    return _plain(text) == _plain(other)


def _plain(text: str) -> str:
    return re.sub("\ufffd+", "\ufffd", text).strip(" ")


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    return next(n for n, (a, b) in enumerate(zip_longest(one, other)) if a != b) if one != other else len(one)


def around(text: str, place: int) -> str:
    return repr(text[max(0, place - 8) : place + 16])
