"""Parity: does a runtime show the model the same words as the float student saw, and does the model say the same?

Wrong text around the weights is the most common reason why a model that was good in training is bad in an app, so text
and ids must be equal in every format. The answers must be equal for float formats, but for ties; a quantized file may
move the first token's distribution, and those along the float student's answers, up to limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from edgedistill import differences, shift
from edgedistill.engine import Engine, Messages
from edgedistill.errors import UsageError
from edgedistill.golden import GoldenCase
from edgedistill.quantization import FLOAT, TYPES
from edgedistill.shift import HeldOut

FIRST_TOKEN_KL = {16: 0.02, 8: 0.1, 6.5: 0.25}
"""Bits per weight from which a limit holds, in nats, of a first token. Types of many bits have less room to be another
model in than those of four; rounding to 16 bits moves a distribution by less than 0.001."""
ANSWER_KL = {16: 0.002, 8: 0.02, 6.5: 0.05}
"""The same of the mean over all positions of the golden answers."""
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
    """Whether the ids of the prompt are the same, and those of the student's answer have the same text."""
    first_token_kl: float | None
    greedy_text: bool
    difference: str = ""
    """The first difference that counts; empty when the case passes."""
    note: str = ""
    """What does not count, e.g. a tie that rounding decided."""
    top1: bool = False
    """Whether the likeliest first token is the same."""
    top_k: float | None = None
    """Share of the golden case's likeliest first tokens that are as many likeliest ones of the runtime, 0-1."""
    answer_kl: float | None = None
    """Mean over the positions of the golden answer, nats."""


@dataclass(frozen=True)
class Parity:
    """All cases of one candidate."""

    results: list[CaseResult] = field(default_factory=list)
    beside: str = ""
    """A difference that was found beside the cases, e.g. in running text."""
    answer_kl_mean: float | None = None
    """Over all positions of the golden answers, nats; None where the float student was not there to compare with."""

    @property
    def has_prompts(self) -> bool:
        """Whether the model could be asked at all: it runs, and the template in the file gave prompts with tokens."""
        return any(result.first_token_kl is not None for result in self.results)

    @property
    def has_same_ids(self) -> bool:
        """Without that, the student's own ids mean something else to the model, or nothing at all."""
        return self.has_prompts and all(result.token_ids for result in self.results) and not self.beside

    @property
    def first_difference(self) -> str:
        """Empty when all is well. A candidate of which nothing was compared did not pass."""
        if not self.results:
            return "there is no golden case to compare"
        return next((result.difference for result in self.results if result.difference), self.beside)

    @property
    def passed(self) -> bool:
        return not self.first_difference

    def line(self) -> dict[str, Any]:
        """`parity` of the report's schema."""
        known = [result.first_token_kl for result in self.results if result.first_token_kl is not None]
        shares = [result.top_k for result in self.results if result.top_k is not None]
        return {
            "cases": len(self.results),
            "prompt_text": sum(result.prompt_text for result in self.results),
            "token_ids": sum(result.token_ids for result in self.results),
            "first_token_kl_max": max(known) if known else None,
            "top1": sum(result.top1 for result in self.results),
            "top_k": round(sum(shares) / len(shares), 4) if shares else None,
            "answer_kl_mean": self.answer_kl_mean,
            "greedy_text": sum(result.greedy_text for result in self.results),
            "passed": self.passed,
        }

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(result) for result in self.results]


def coarsest(types: Iterable[str]) -> str:
    """Of the types of a file's tensors the one with the fewest bits: what a file is called says less than it holds."""
    return min(types, key=_bits)


def _bits(kind: str) -> float:
    """Per weight: of a GGUF type with its scales, of INT8 and INT4 as they are called."""
    if kind in TYPES:
        return 8 * TYPES[kind].bytes / TYPES[kind].block
    found = re.search(r"\d+$", kind)
    return float(found[0]) if found else 0.0


def limit_of(kind: str, kl_max: float, limits: Mapping[float, float] = FIRST_TOKEN_KL) -> float:
    """Largest KL, in nats, at which a file with this coarsest type still counts as the student; at most `kl_max`."""
    return min(kl_max, next((limit for least, limit in limits.items() if _bits(kind) >= least), kl_max))


def failed(cases: Sequence[GoldenCase], reason: str) -> Parity:
    """Of a candidate that could not be asked at all."""
    return Parity([CaseResult(case.id, False, False, None, False, f"case {case.id}: {reason}") for case in cases])


def check(cases: Sequence[GoldenCase], runtime: Replaying, kind: str, kl_max: float, max_tokens: int) -> Parity:
    """Replay every case.

    kind        the coarsest type in the file: `coarsest(candidate.tensor_types)`
    kl_max      limit of a first token for types of few bits; the others have limits of their own
    max_tokens  as the golden cases were made with
    Raises      nothing for a difference: it is the result
    """
    said = [case.messages for case in cases]
    try:
        prompts = [runtime.render(messages) for messages in said]
        ids = [runtime.token_ids(messages) for messages in said]
    except UsageError as error:  # no template in the file, or one that refuses: no prompt at all is a difference
        return failed(cases, str(error))
    results = [_text_result(case, text, row, runtime) for case, text, row in zip(cases, prompts, ids, strict=True)]
    if cases and not any(result.difference for result in results):
        results[0] = replace(results[0], difference=differences.end_difference(cases[0], runtime.stop_ids()))
    try:
        first = runtime.first_token_log_probs(said)
        answers = runtime.answer_ids(said, max_tokens=max_tokens)
        checked = [_first_result(*one, kind, kl_max) for one in zip(cases, results, first, strict=True)]
        return Parity(
            [_answer_result(*one, runtime, kind, max_tokens) for one in zip(cases, checked, answers, strict=True)]
        )
    except UsageError as error:  # it cannot run; or a prompt has no tokens, or too many: the text was wrong before
        return Parity([replace(result, difference=result.difference or str(error)) for result in results])


def check_answers(found: Parity, before: HeldOut, runtime: Replaying, kind: str, kl_max: float) -> Parity:
    """Hold every position of the golden answers against the float student's own distributions.

    before  of the golden cases' answers, in their order: whole ones, or what the cases keep of them (golden.along)
    kl_max  limit of the mean for types of few bits; the others have limits of their own
    """
    import numpy as np

    parts = [kl for kl, _ in shift.by_row(before, runtime)]
    own = [round(float(kl.mean()), 6) for kl in parts]
    mean = round(float(np.concatenate(parts).mean()), 6)
    results = [replace(result, answer_kl=kl) for result, kl in zip(found.results, own, strict=True)]
    limit = limit_of(kind, kl_max, ANSWER_KL)
    if not mean <= limit:
        worst = own.index(max(own))
        difference = differences.answers_difference(results[worst].id, own[worst], mean, limit, kind in FLOAT)
        results[worst] = replace(results[worst], difference=results[worst].difference or difference)
    return replace(found, results=results, answer_kl_mean=mean)


def judged_by_source(lines: Sequence[dict[str, Any]], sources: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Candidate lines in which a quantized file fails with the float file of its format, which it was made from.

    A fault of the export moves every file of it alike, and the wider limits of quantized files would let it pass. One
    float file that agrees shows that the export is right: computing in 16 bits may go wrong by itself.

    sources  lines of float files that are no candidates, or were not evaluated: format, quant, tensor_types, parity,
             parity_difference
    """
    floats = [line for line in (*lines, *sources) if coarsest(line["tensor_types"]) in FLOAT]
    agreeing = {line["format"] for line in floats if _agrees(line) is True}
    wrong: dict[str, dict[str, Any]] = {}
    for line in floats:
        if line["format"] not in agreeing and _agrees(line) is False:
            wrong.setdefault(line["format"], line)
    return [
        _failed_with(wrong[line["format"]], line) if line["format"] in wrong and line["parity"]["passed"] else line
        for line in lines
    ]


def _agrees(line: dict[str, Any]) -> bool | None:
    """Whether a float file is the student; None of one that does not run, which says nothing of the others."""
    found = line["parity"]
    return None if found["first_token_kl_max"] is None else bool(found["passed"])


def _failed_with(source: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    reason = f"the {source['quant']} file of the same export fails: {source['parity_difference']}"
    return {**line, "parity": {**line["parity"], "passed": False}, "parity_difference": reason}


def _text_result(case: GoldenCase, prompt: str, ids: Sequence[int], runtime: Replaying) -> CaseResult:
    """What is known before the model runs."""
    difference = (
        differences.begin_difference(case, ids)
        or differences.text_difference(case, prompt)
        or differences.ids_difference(case, ids, runtime)
    )
    words = differences.words_difference(case, runtime)
    has_same_ids = list(ids) == case.token_ids and not words
    return CaseResult(case.id, prompt == case.prompt, has_same_ids, None, False, difference or words)


def _first_result(case: GoldenCase, result: CaseResult, log_probs: Any, kind: str, kl_max: float) -> CaseResult:
    """The result with what the model holds likely as the first token."""
    kl, is_float = round(divergence(case.top, log_probs), 6), kind in FLOAT
    difference = result.difference or differences.kl_difference(case, kl, limit_of(kind, kl_max), is_float)
    if is_float:
        difference = difference or differences.order_difference(case, log_probs)
    likeliest = (-log_probs).argsort(kind="stable")[: len(case.top)].tolist()
    golden = [token for token, _ in case.top]
    shared = len(set(golden) & set(likeliest)) / len(golden)
    is_first = likeliest[:1] == golden[:1]
    return replace(result, first_token_kl=kl, top1=is_first, top_k=shared, difference=difference)


def _answer_result(
    case: GoldenCase, result: CaseResult, answer: Sequence[int], runtime: Replaying, kind: str, max_tokens: int
) -> CaseResult:
    """The result with what the model said."""
    text = runtime.text_of(answer)
    if differences.is_same(text, case.greedy):
        return replace(result, greedy_text=True)
    if kind not in FLOAT or result.difference:
        return result
    if case.answer is None:
        difference = (
            f"case {case.id}: the greedy answer differs, and this file of golden cases keeps no ids to judge it"
        )
        return replace(result, difference=difference)
    steps = runtime.step_log_probs(case.messages, case.answer)
    difference, note = differences.answer_difference(case, answer, text, steps, max_tokens)
    return replace(result, difference=difference, note=note)


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
