"""Parity: does a runtime show the model the same words as the float student saw, and does the model say the same?

Wrong text around the weights is the most common reason why a model that was good in training is bad in an app, so text
and ids must be equal in every format. The answers must be equal for float formats; a quantized file may move the first
token's distribution up to a limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any, Protocol

from edgedistill.engine import Engine, Messages
from edgedistill.errors import UsageError
from edgedistill.golden import GoldenCase

FLOAT_FORMATS = ("F32", "F16", "BF16")
FLOAT_KL_MAX = 0.02
"""Nats. Rounding to 16 bits moves a distribution by less than 0.001."""
KL_MAX = {"Q8_0": 0.1, "Q6_K": 0.25}
"""Nats, of a first token. Types of many bits have less room to be another model in than those of four."""
TIE_NATS = 0.05
"""Two next tokens that are this close may change places by rounding alone; the answer may go either way from there."""
_BYTES_OF_A_CHARACTER = 4
_LEAST = -60.0
"""Natural log of the smallest share that is counted."""


class Replaying(Protocol):
    """What replaying golden cases takes of a runtime, wherever it runs."""

    def render(self, messages: Messages) -> str:
        """The prompt text, generation prompt included. Raises UsageError when the template refuses."""

    def token_ids(self, messages: Messages) -> list[int]:
        """The ids that the model sees for `render(messages)`."""

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        """Of each conversation an array by token id: natural-log probabilities of the first answer token."""

    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids; bytes that are no whole character become U+FFFD."""

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""


class Runtime(Engine, Replaying, Protocol):
    """An engine whose answers can be looked at token by token."""


@dataclass(frozen=True)
class CaseResult:
    """How one case came out."""

    id: str
    prompt_text: bool
    token_ids: bool
    first_token_kl: float | None
    greedy_text: bool
    difference: str = ""
    """The first difference that counts; empty when the case passes."""
    note: str = ""
    """What does not count, e.g. a tie that rounding decided."""


@dataclass(frozen=True)
class Parity:
    """All cases of one candidate."""

    results: list[CaseResult] = field(default_factory=list)

    @property
    def has_prompts(self) -> bool:
        """Whether the model could be asked at all: the template in the file gave prompts with tokens."""
        return any(result.first_token_kl is not None for result in self.results)

    @property
    def first_difference(self) -> str:
        """Empty when all is well. A candidate of which nothing was compared did not pass."""
        if not self.results:
            return "there is no golden case to compare"
        return next((result.difference for result in self.results if result.difference), "")

    @property
    def passed(self) -> bool:
        return not self.first_difference

    def line(self) -> dict[str, Any]:
        """`parity` of the report's schema."""
        known = [result.first_token_kl for result in self.results if result.first_token_kl is not None]
        return {
            "cases": len(self.results),
            "prompt_text": sum(result.prompt_text for result in self.results),
            "token_ids": sum(result.token_ids for result in self.results),
            "first_token_kl_max": max(known) if known else None,
            "greedy_text": sum(result.greedy_text for result in self.results),
            "passed": self.passed,
        }

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(result) for result in self.results]


def limit_of(quant: str, kl_max: float) -> float:
    """Largest KL of a first token, in nats, at which a file still counts as the student; never above `kl_max`."""
    return min(kl_max, FLOAT_KL_MAX if quant in FLOAT_FORMATS else KL_MAX.get(quant, kl_max))


def check(cases: Sequence[GoldenCase], runtime: Replaying, quant: str, kl_max: float, max_tokens: int) -> Parity:
    """Replay every case. `kl_max` is for quantized formats; float formats, and those of many bits, have limits of their
    own.

    Raises  nothing for a difference: it is the result
    """
    is_float, limit = quant in FLOAT_FORMATS, limit_of(quant, kl_max)
    said = [case.messages for case in cases]
    try:
        prompts, ids = (
            [runtime.render(messages) for messages in said],
            [runtime.token_ids(messages) for messages in said],
        )
    except UsageError as error:  # no template in the file, or one that refuses: no prompt at all is a difference
        return Parity([CaseResult(case.id, False, False, None, False, f"case {case.id}: {error}") for case in cases])
    results = [_text_result(case, text, row, runtime) for case, text, row in zip(cases, prompts, ids, strict=True)]
    if cases and not any(result.difference for result in results):
        results[0] = replace(results[0], difference=end_difference(cases[0], runtime.stop_ids()))
    try:
        first = runtime.first_token_log_probs(said)
        answers = runtime.answer_ids(said, max_tokens=max_tokens)
    except UsageError as error:  # a prompt without tokens, or with too many: the text was wrong before
        return Parity([replace(result, difference=result.difference or str(error)) for result in results])
    return Parity(
        [
            _answer_result(case, result, runtime, log_probs, answer, limit, is_float)
            for case, result, log_probs, answer in zip(cases, results, first, answers, strict=True)
        ]
    )


def judged_by_source(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Candidate lines in which a quantized file fails with the float file of its format, which it was made from.

    A fault of the export moves every file of it alike, and the wider limit of quantized files would let it pass.
    """
    wrong: dict[str, dict[str, Any]] = {}
    for line in lines:
        kl = line["parity"]["first_token_kl_max"]
        if line["quant"] in FLOAT_FORMATS and kl is not None and kl > FLOAT_KL_MAX:
            wrong.setdefault(line["format"], line)
    return [
        _failed_with(wrong[line["format"]], line) if line["format"] in wrong and line["parity"]["passed"] else line
        for line in lines
    ]


def _failed_with(source: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    reason = f"the {source['quant']} file of the same export fails: {source['parity_difference']}"
    return {**line, "parity": {**line["parity"], "passed": False}, "parity_difference": reason}


def _text_result(case: GoldenCase, prompt: str, ids: Sequence[int], runtime: Replaying) -> CaseResult:
    """What is known before the model runs."""
    difference = begin_difference(case, ids) or text_difference(case, prompt) or ids_difference(case, ids, runtime)
    return CaseResult(case.id, prompt == case.prompt, list(ids) == case.token_ids, None, False, difference)


def _answer_result(
    case: GoldenCase,
    result: CaseResult,
    runtime: Replaying,
    log_probs: Any,
    answer: Sequence[int],
    limit: float,
    is_float: bool,
) -> CaseResult:
    """The result with what the model said."""
    kl, text = round(divergence(case.top, log_probs), 6), runtime.text_of(answer)
    difference, note = result.difference or kl_difference(case, kl, limit, is_float), ""
    if text != case.greedy and is_float and not difference:
        difference, note = _answer_difference(case, runtime, answer)
    return replace(result, first_token_kl=kl, greedy_text=text == case.greedy, difference=difference, note=note)


def divergence(top: Sequence[tuple[int, float]], log_probs: Any) -> float:
    """KL from the golden distribution to another one, nats, over the kept ids and one bin for the rest.

    top        (id, log probability)
    log_probs  indexed by id; an id that is not there has no share
    """
    total, kept, given = 0.0, 0.0, 0.0
    for token, golden_log in top:
        other_log = max(_LEAST, float(log_probs[token])) if token < len(log_probs) else _LEAST
        total += math.exp(golden_log) * (golden_log - other_log)
        kept += math.exp(golden_log)
        given += math.exp(other_log)
    rest, other_rest = max(0.0, 1 - kept), max(math.exp(_LEAST), 1 - given)
    if rest > 1e-6:  # below, it is the rounding of the kept ones
        total += rest * math.log(rest / other_rest)
    return max(0.0, total)


def text_difference(case: GoldenCase, prompt: str) -> str:
    if prompt == case.prompt:
        return ""
    place = _first_difference(case.prompt, prompt)
    return (
        f"case {case.id}: prompt text differs at character {place}: expected {_around(case.prompt, place)}, got "
        f"{_around(prompt, place)}; the chat template in the file is not the student's"
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


def ids_difference(case: GoldenCase, ids: Sequence[int], runtime: Replaying) -> str:
    """The first position where the ids differ, and what is wrong there."""
    if list(ids) == case.token_ids:
        return ""
    place = _first_difference(case.token_ids, ids)
    expected, got = (row[place] if place < len(row) else "none" for row in (case.token_ids, ids))
    reason = "the file's tokenizer is not the student's"
    if place < min(len(case.pieces), len(case.token_ids)):
        reason = _why(case, place, list(ids[place:]), runtime) or reason
    elif place == len(case.token_ids) and got in case.stop_ids:
        reason = f"the runtime puts the end token {got} after the prompt"
    return f"case {case.id}: token ids differ at position {place}: expected {expected}, got {got}; {reason}"


def _why(case: GoldenCase, place: int, rest: list[int], runtime: Replaying) -> str:
    """What became of the student's token at a place; empty where nothing plain can be said."""
    token, piece = case.token_ids[place], case.pieces[place]
    if token in case.added:
        return f"the added token {piece!r} is lost, the runtime reads it as text"
    if rest and "\ufffd" not in piece and runtime.text_of(rest[:1]).strip() == piece.strip():
        return f"the vocabulary is in another order, {piece!r} is another token in the file"
    return ""


def kl_difference(case: GoldenCase, kl: float, limit: float, is_float: bool) -> str:
    if kl <= limit:
        return ""
    reason = (
        "the weights in the file are not the student's, or were damaged on the way"
        if is_float
        else "this quantization changes the student too much, or the weights are not the student's"
    )
    return (
        f"case {case.id}: the first token's distribution is {kl:.3g} nats from the float student's, the limit is "
        f"{limit:.3g}; {reason}"
    )


def _answer_difference(case: GoldenCase, runtime: Replaying, answer: Sequence[int]) -> tuple[str, str]:
    """The difference, or none and a note when the answers part at a tie."""
    parted = _parts_at(case.greedy, runtime, answer)
    log_probs = runtime.step_log_probs(case.messages, answer)[: parted + 1]
    log_probs.sort(axis=1)
    # The tokens of one character may differ before its text does.
    gaps = (log_probs[:, -1] - log_probs[:, -2])[-_BYTES_OF_A_CHARACTER:]
    if gaps.min() <= TIE_NATS:
        return "", f"the answers part at token {parted}, at a tie of {gaps.min():.4f} nats"
    text = runtime.text_of(answer)
    at = _first_difference(case.greedy, text)
    difference = (
        f"case {case.id}: the greedy answer differs at character {at}: expected {_around(case.greedy, at)}, got "
        f"{_around(text, at)}"
    )
    return difference, ""


def _parts_at(text: str, runtime: Replaying, answer: Sequence[int]) -> int:
    """The first token that leads away from a text; the one after the answer when the answer is its beginning."""
    for place in range(len(answer)):
        if not text.startswith(runtime.text_of(answer[: place + 1]).rstrip("\ufffd")):
            return place
    return len(answer)


def _first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    return next(n for n, (a, b) in enumerate(zip_longest(one, other)) if a != b) if one != other else len(one)


def _around(text: str, place: int) -> str:
    return repr(text[max(0, place - 8) : place + 16])
