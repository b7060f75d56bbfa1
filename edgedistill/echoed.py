"""Log probabilities of given tokens from a server: it echoes the prompt, and tells how likely each token of it was.

OpenAI's completions API has `echo` and `logprobs`; that token texts come as `token_id:N` is vLLM's. Texts would not do:
several tokens can have the same text, and some have none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgedistill.answered import Answered
from edgedistill.engine import Likeliest
from edgedistill.errors import StageFailed
from edgedistill.sections import ModelConfig
from edgedistill.server import Server
from edgedistill.server_address import COMPLETIONS

_MARK = "token_id:"
_LEAST = -100.0
"""The least log probability: servers have numbers of their own for minus infinity, which JSON does not have."""

_HINT = (
    "use a server that echoes prompts with log probabilities, e.g. vLLM (with `--max-logprobs` as large as `top_k`), a"
    " folder or hub id with `engine: hf`, or a method that reads text, like `seqkd`"
)


_ECHOED = ("tokens", "token_logprobs", "top_logprobs")
"""One entry per token, the prompt's included."""


def ask(
    server: Server, config: ModelConfig, answered: Answered, prompt: Sequence[int], answer: Sequence[int], count: int
) -> Any:
    """The server's `logprobs` for the answer, which is behind the prompt, with `count` likeliest tokens at each."""
    request = {
        "prompt": [*prompt, *answer],
        "max_tokens": 0,
        "temperature": 1.0,
        "echo": True,
        "logprobs": count,
        "return_tokens_as_token_ids": True,
    }
    if (known := answered.find(request)) is not None:
        return json.loads(known)
    reply = server.post(COMPLETIONS, {"model": config.model, **request, **config.extra_body}, 0)
    try:
        # What it says of the prompt, which is most of it, is not kept.
        told = {name: reply["choices"][0]["logprobs"][name][-len(answer) :] for name in _ECHOED}
    except (LookupError, TypeError):
        raise _strange(server.address, "no `logprobs`") from None
    answered.keep(request, json.dumps(told))
    return told


def likeliest(found: Any, answer: Sequence[int], count: int, address: str) -> Likeliest:
    """Of the answer, from what `ask` returns.

    Raises  StageFailed when tokens are missing, or come as texts, or are others than were sent
    """
    import numpy as np

    try:
        own = [max(float(value), _LEAST) for value in found["token_logprobs"]]
        echoed = [_id(token) for token in found["tokens"]]
        tops = [_ranked(top)[:count] for top in found["top_logprobs"]]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _strange(address, "no token ids with log probabilities") from None
    if echoed != list(answer):
        raise _strange(address, f"other tokens ({echoed[:4]} …) than those that were sent ({list(answer[:4])} …)")
    kept = min(map(len, tops))
    if kept < count:
        raise _strange(address, f"the {kept} likeliest tokens where {count} were asked for")
    ids = np.array([[token for token, _ in top[:kept]] for top in tops], dtype=np.int32)
    log_probs = np.array([[value for _, value in top[:kept]] for top in tops], dtype=np.float32)
    return Likeliest(ids, log_probs, np.array(own, dtype=np.float32))


def without_padding(told: Likeliest, vocabulary: int) -> Likeliest:
    """Ids from `vocabulary` on, which the student does not have, become others of the place with probability 0.

    Others, because the ids of a place must differ: the lowest ones that are not there yet.
    """
    import numpy as np

    is_padding = told.ids >= vocabulary
    rows = np.nonzero(is_padding.any(axis=1))[0]
    if not len(rows):
        return told
    ids, padded, kept = told.ids[rows], is_padding[rows], told.ids.shape[1]
    is_taken = np.zeros((len(rows), kept), dtype=bool)  # of K places, the lowest K ids have enough free ones
    at, place = np.nonzero(~padded & (ids < kept))
    is_taken[at, ids[at, place]] = True
    free = np.argsort(is_taken, axis=1, kind="stable")
    nth = np.maximum(padded.cumsum(axis=1) - 1, 0)
    found = told.ids.copy()
    found[rows] = np.where(padded, np.take_along_axis(free, nth, axis=1), ids)
    log_probs = np.where(is_padding, -np.inf, told.log_probs).astype(np.float32)
    return Likeliest(found, log_probs, told.own)


def _ranked(top: dict[str, float]) -> list[tuple[int, float]]:
    pairs = ((_id(token), max(float(value), _LEAST)) for token, value in top.items())
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def _id(token: str) -> int:
    if not token.startswith(_MARK):
        raise ValueError(token)
    return int(token.removeprefix(_MARK))


def _strange(address: str, what: str) -> StageFailed:
    return StageFailed(f"{address} was asked for the log probabilities of given tokens and answers with {what}", _HINT)
