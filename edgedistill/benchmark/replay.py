"""The golden cases through llama-server: the face of `parity.Replaying` before its HTTP interface.

Source  llama.cpp's tools/server/README.md, `/apply-template`, `/tokenize`, `/detokenize` and `/completion`. What
        `n_probs` gives is the softmax of the raw logits, before any sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from edgedistill.engine import Messages
from edgedistill.golden import GoldenCase

Post = Callable[[str, dict[str, Any]], Any]
"""(path, body) -> the server's JSON."""

_FORCED = 1000.0
"""Added to a token's logit, so that it is the next one whatever the model says."""
_FIRST_PROBS = 256
"""Tokens whose probability is asked for at first; ever more, until all that a case needs are among them."""
_MOST_PROBS = 1 << 20
_LEAST = -60.0
"""Natural log of a share that was not given."""


class Replay:
    """See `parity.Replaying`."""

    def __init__(self, post: Post, properties: dict[str, Any], cases: Sequence[GoldenCase]) -> None:
        """`properties`: what the server's `/props` says."""
        self._post, self._properties, self._cases = post, properties, cases
        self._by_messages = {_key(case.messages): case for case in cases}

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
        body = {"prompt": self._cases[0].token_ids, "n_predict": 2, "logit_bias": [[token, _FORCED]]}
        return bool(self._complete(body)["stop_type"] == "eos")

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        return [self._answer(self.token_ids(messages), max_tokens) for messages in conversations]

    def _answer(self, ids: list[int], max_tokens: int) -> list[int]:
        reply = self._complete({"prompt": ids, "n_predict": max_tokens, "return_tokens": True})
        answer = [int(token) for token in reply["tokens"]]
        if reply["stop_type"] == "eos":
            answer.pop()
        return answer

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
        """Of each conversation an array by token id, of the ids that its golden case names."""
        wanted = [self._by_messages[_key(messages)].top for messages in conversations]
        return [
            _array(self._peek(self.token_ids(messages), _named(top)))
            for messages, top in zip(conversations, wanted, strict=True)
        ]

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32; of each position the likeliest tokens, and those that the golden case names
        there; the others have no share. The server goes on from what it holds, one token at a time, as when it writes.
        """
        import numpy as np

        prompt, steps = self.token_ids(messages), self._by_messages[_key(messages)].steps
        wanted = [_named(step) for step in steps] or [*({token} for token in answer), set()]
        rows = [self._peek([*prompt, *answer[:place]], wanted[place], goes_on=True) for place in range(len(answer) + 1)]
        size = 1 + max(token for row in rows for token in row)
        return np.stack([_array(row, size) for row in rows])

    def _peek(self, ids: list[int], wanted: set[int], *, goes_on: bool = False) -> dict[int, float]:
        """Log probabilities of what follows the ids: the likeliest, and as many of them as it takes for `wanted`.

        A letter is forced as the next token: the server tells no probabilities of a token that ends within a character,
        and which one is chosen does not change them.
        """
        count = _FIRST_PROBS
        while True:
            body = {"prompt": ids, "n_predict": 1, "n_probs": count, "logit_bias": [[self._a[-1]["id"], _FORCED]]}
            (step,) = self._complete({**body, "cache_prompt": goes_on})["completion_probabilities"]
            found = {int(one["id"]): float(one["logprob"]) for one in step["top_logprobs"]}
            if wanted <= found.keys() or len(found) < count or count >= _MOST_PROBS:
                return found
            count *= 16

    def _complete(self, body: dict[str, Any]) -> Any:
        greedy = {"temperature": 0.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
        return self._post("/completion", {**greedy, "cache_prompt": False, **body})


def _key(messages: Messages) -> str:
    return repr([(message["role"], message["content"]) for message in messages])


def _named(top: Sequence[tuple[int, float]]) -> set[int]:
    return {token for token, _ in top}


def _array(found: dict[int, float], size: int = 0) -> Any:
    import numpy as np

    row = np.full(size or 1 + max(found), _LEAST, np.float32)
    row[list(found)] = list(found.values())
    return row
