"""The golden cases through llama-server: the face of `parity.Replaying` before its HTTP interface.

Each case is asked once, for its answer and for what the model holds likely at every token of it. As long as that is the
golden answer, these are the distributions along the golden answer too; behind the token at which the two part, the
server is led along the golden one, and goes on from what it holds.

Source  llama.cpp's tools/server/README.md, `/apply-template`, `/tokenize`, `/detokenize` and `/completion`. What
        `n_probs` gives is the softmax of the raw logits, before any sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgedistill.benchmark.served import Keep
from edgedistill.differences import first_difference
from edgedistill.engine import Messages
from edgedistill.golden import GoldenCase
from edgedistill.log import progress

Post = Callable[[str, dict[str, Any]], Any]
"""(path, body) -> the server's JSON."""

_FORCED = 1000.0
"""Added to a token's logit, so that it is the next one whatever the model says."""
_PROBS = (64, 2048, 65_536)
"""Tokens whose probability is asked for: more only where one that a case needs is not among them. They are JSON in the
server's memory, 300 bytes each; a golden token behind the last of these places is as good as impossible.
"""
_LEAST = -60.0
"""Natural log of a share that was not given."""

Row = dict[int, float]
"""Log probabilities by token id, the likeliest first."""


@dataclass(frozen=True)
class Heard:
    """What the server said to one case."""

    ids: list[int]
    """Of the prompt."""
    answer: list[int]
    """Greedy, without the token that ends it; one more than the cases' longest, where nothing ends it."""
    rows: dict[int, Row]
    """Of positions of the golden answer."""

    def line(self, case: GoldenCase) -> dict[str, Any]:
        """For `keep`."""
        rows = {str(place): list(row.items()) for place, row in self.rows.items()}
        return {"id": case.id, "prompt": self.ids, "golden": case.answer, "answer": self.answer, "rows": rows}


class Replay:
    """See `parity.Replaying`."""

    def __init__(
        self,
        post: Post,
        properties: dict[str, Any],
        cases: Sequence[GoldenCase],
        max_tokens: int,
        known: Mapping[str, dict[str, Any]],
        keep: Keep,
    ) -> None:
        """
        properties  what the server's `/props` says
        max_tokens  as the golden cases were made with
        known       what `keep` was given before, by the case's id
        """
        self._post, self._properties, self._cases, self._max_tokens = post, properties, cases, max_tokens
        self._by_messages = {_key(case.messages): case for case in cases}
        self._known, self._keep = known, keep
        self._heard: dict[str, Heard] = {}

    def render(self, messages: Messages) -> str:
        """The prompt text. The server takes a begin token off that its tokenizer adds again; here it is put back."""
        text, begin = self._rendered(messages), self._properties.get("bos_token", "")
        template = self._properties.get("chat_template", "")
        is_written = bool(begin) and ("bos_token" in template or begin in template)
        return begin + text if is_written and self._adds_begin and not text.startswith(begin) else text

    def _rendered(self, messages: Messages) -> str:
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def token_ids(self, messages: Messages) -> list[int]:
        return self._ids(self._rendered(messages), add_special=True)

    def _ids(self, text: str, *, add_special: bool = False, parse_special: bool = True) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

    @cached_property
    def _adds_begin(self) -> bool:
        begin = self._properties.get("bos_token", "")
        added = self._ids("", add_special=True)
        return bool(begin) and added[:1] == self._ids(begin)

    @cached_property
    def _adds_space(self) -> bool:
        """Whether the tokenizer puts a space before every text, which an answer's text then begins with."""
        return str(self._a[0]["piece"]).startswith(" ")

    @cached_property
    def _a(self) -> list[dict[str, Any]]:
        """The letter a: `[{"id": …, "piece": …}]`."""
        found: list[dict[str, Any]] = self._post("/tokenize", {"content": "a", "with_pieces": True})["tokens"]
        return found

    def stop_ids(self) -> frozenset[int]:
        """Those of the golden cases' end tokens that end an answer here: each is forced, and has to be the last."""
        wanted = {token for case in self._cases for token in case.stop_ids}
        return frozenset(token for token in wanted if self._ends(token))

    def _ends(self, token: int) -> bool:
        prompt = self._cases[0].token_ids[-1:]  # whatever stands before it
        body = {"prompt": prompt, "n_predict": 2, "logit_bias": [[token, _FORCED]]}
        return bool(self._complete(body)["stop_type"] == "eos")

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        assert max_tokens == self._max_tokens
        return [self._of(self._case(messages)).answer[:max_tokens] for messages in conversations]

    def text_of(self, answer: Sequence[int]) -> str:
        """What an answer of these ids reads like: without control tokens, which `/detokenize` writes out. Bytes that
        are no whole character become U+FFFD.
        """
        text = self._written(answer)
        if self._ids(text) != self._ids(text, parse_special=False):
            text = self._written([token for token in answer if not self._is_control(token)])
        return text.removeprefix(" ") if self._adds_space else text

    def _written(self, ids: Sequence[int]) -> str:
        return str(self._post("/detokenize", {"tokens": list(ids)})["content"])

    def _is_control(self, token: int) -> bool:
        """A token that its own text only gives where special ones are looked for."""
        piece = self._written([token])
        return self._ids(piece) == [token] != self._ids(piece, parse_special=False)

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> list[Any]:
        """Of each conversation an array by token id, of the ids that its golden case names. Here everything is asked
        that the other questions take, too, case by case.
        """
        rows = []
        with progress("golden cases", len(conversations)) as advance:
            for messages in conversations:
                rows.append(_array(self._row(self._case(messages), 0)))
                advance(1)
        return rows

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 along the golden answer; of each position the likeliest token, and those
        that the golden case names there; the others have no share.
        """
        import numpy as np

        case = self._case(messages)
        assert list(answer) == (case.answer or [])
        rows = [self._row(case, place) for place in range(len(answer) + 1)]
        size = 1 + max(token for row in rows for token in row)
        return np.stack([_array(row, size) for row in rows])

    def _case(self, messages: Messages) -> GoldenCase:
        return self._by_messages[_key(messages)]

    def _row(self, case: GoldenCase, place: int) -> Row:
        """What may follow so many tokens of the golden answer."""
        heard = self._of(case)
        if place not in heard.rows:
            self._lead(case, heard, place)
        return heard.rows[place]

    def _of(self, case: GoldenCase) -> Heard:
        """Asked the first time, unless it is known from a run that was cut."""
        if case.id not in self._heard:
            ids = self.token_ids(case.messages)
            known = self._known.get(case.id, {})
            if (known.get("prompt"), known.get("golden")) == (ids, case.answer):
                rows = {int(place): {int(token): share for token, share in row} for place, row in known["rows"].items()}
                self._heard[case.id] = Heard(ids, known["answer"], rows)
            else:
                self._heard[case.id] = self._asked(case, ids)
                self._keep(self._heard[case.id].line(case))
        return self._heard[case.id]

    def _asked(self, case: GoldenCase, ids: list[int]) -> Heard:
        """The greedy answer, and all rows that the case has golden ones of."""
        body = {"prompt": ids, "n_predict": self._max_tokens + 1, "n_probs": _PROBS[0], "return_tokens": True}
        reply = self._complete(body)
        answer = [int(token) for token in reply["tokens"]]
        given = _placed(answer, reply.get("completion_probabilities", []))
        if reply["stop_type"] == "eos":
            answer.pop()
        golden = case.answer or []
        heard = Heard(ids, answer, {})
        for place in range(max(1, len(case.steps))):
            is_shared = place <= first_difference(golden, answer)
            row = given.get(place, {}) if is_shared else {}
            if _named(case, place) <= row.keys():
                heard.rows[place] = _needed(case, place, row)
            else:
                self._lead(case, heard, place)
        return heard

    def _lead(self, case: GoldenCase, heard: Heard, place: int) -> None:
        """Ask what follows the first tokens of the golden answer; the server goes on from what it holds. Only for the
        first one it reads the whole prompt, at once, as it does for an answer.

        A letter is forced as the next token: the server tells no probabilities of a token that ends within a character,
        and which one is chosen does not change them.
        """
        prompt, wanted = [*heard.ids, *(case.answer or [])[:place]], _named(case, place)
        row: Row = {}
        for count in _PROBS:
            body = {"prompt": prompt, "n_predict": 1, "n_probs": count, "logit_bias": [[self._a[-1]["id"], _FORCED]]}
            (step,) = self._complete({**body, "cache_prompt": place > 0})["completion_probabilities"]
            row = _row_of(step)
            if wanted <= row.keys() or len(row) < count:
                break
        heard.rows[place] = _needed(case, place, row)

    def _complete(self, body: dict[str, Any]) -> Any:
        greedy = {"temperature": 0.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
        return self._post("/completion", {**greedy, "cache_prompt": False, **body})


def _key(messages: Messages) -> str:
    return repr([(message["role"], message["content"]) for message in messages])


def _named(case: GoldenCase, place: int) -> set[int]:
    """Tokens whose share is held against the golden case's: as first ones, along its answer, and the answer's own."""
    rows = [*([case.top] if place == 0 else []), *case.steps[place : place + 1]]
    return {token for row in rows for token, _ in row} | set((case.answer or [])[place : place + 1])


def _needed(case: GoldenCase, place: int, row: Row) -> Row:
    """What is kept: of first tokens all that was given, of others those that are compared, and the likeliest."""
    named = _named(case, place)
    return {token: share for n, (token, share) in enumerate(row.items()) if place == 0 or n == 0 or token in named}


def _row_of(step: dict[str, Any]) -> Row:
    return {int(one["id"]): float(one["logprob"]) for one in step["top_logprobs"]}


def _placed(tokens: list[int], steps: list[dict[str, Any]]) -> dict[int, Row]:
    """The rows of an answer by position. The server tells none of a token that ends within a character; where more than
    one token could be meant, none is taken.
    """
    ids = [int(step["id"]) for step in steps]
    early, late = _in_turn(tokens, ids), _in_turn(tokens[::-1], ids[::-1])[::-1]
    return {
        one: _row_of(step)
        for one, other, step in zip(early, late, steps, strict=True)
        if one == len(tokens) - 1 - other
    }


def _in_turn(tokens: list[int], ids: list[int]) -> list[int]:
    """The first places at which ids stand in this order."""
    places, at = [], -1
    for token in ids:
        at = tokens.index(token, at + 1)
        places.append(at)
    return places


def _array(row: Row, size: int = 0) -> Any:
    import numpy as np

    full = np.full(size or 1 + max(row), _LEAST, np.float32)
    full[list(row)] = list(row.values())
    return full
