"""Answers that keep to a grammar (GBNF), in llama.cpp: which next tokens a text so far allows.

The likeliest token is asked about first, and only where the grammar refuses it are others looked at: most answers of a
tuned model keep to the grammar by themselves, and looking through a vocabulary is slow.

Source  include/llama.h of the pinned llama.cpp: `llama_sampler_init_grammar`; the order of asking is that of
        common/sampling.cpp, `common_sampler_sample`
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np

from edgedistill.errors import UsageError
from edgedistill.ml.llama_runtime import Weights

_FEW = 64
"""Likeliest tokens that are asked about together before the whole vocabulary is."""
_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data`"""


class Grammar:
    """Where one answer stands in a grammar."""

    def __init__(self, weights: Weights, text: str) -> None:
        """Raises UsageError where llama.cpp cannot read the grammar."""
        self._weights = weights
        self._sampler = llama_cpp.llama_sampler_init_grammar(weights.vocab, text.encode(), b"root")
        if not self._sampler:
            raise UsageError("llama.cpp cannot read the task's grammar", "its rules must be GBNF and start at `root`")

    def choose(self, logits: np.ndarray) -> int:
        """The likeliest token that the grammar allows, which is then part of the text. One that ends answers counts as
        allowed where the text may end, and is chosen too where the vocabulary has no way on.

        logits  (V,) float32
        """
        found = self._likeliest(logits)
        if found is None:
            return min(self._weights.end_ids, default=int(logits.argmax()))
        llama_cpp.llama_sampler_accept(self._sampler, found)  # a token that is not allowed would end the process
        return found

    def fits(self, tokens: Sequence[int]) -> bool:
        """Whether a text of these tokens keeps to the grammar and may end there; to be asked at the beginning."""
        for token in (*tokens, *sorted(self._weights.end_ids)[:1]):
            if self._likeliest_of(np.array([token]), np.zeros(1, np.float32)) is None:
                return False
            llama_cpp.llama_sampler_accept(self._sampler, token)
        return True

    def reset(self) -> None:
        """Back to the beginning."""
        llama_cpp.llama_sampler_reset(self._sampler)

    def close(self) -> None:
        if self._sampler:
            llama_cpp.llama_sampler_free(self._sampler)
            self._sampler = None

    def _likeliest(self, logits: np.ndarray) -> int | None:
        few = min(_FEW, len(logits))
        rounds = (
            lambda: np.array([logits.argmax()]),
            lambda: np.argpartition(-logits, few - 1)[:few],
            lambda: np.arange(len(logits)),
        )
        tried = (self._likeliest_of(tokens(), logits) for tokens in rounds)
        return next((token for token in tried if token is not None), None)

    def _likeliest_of(self, tokens: np.ndarray, logits: np.ndarray) -> int | None:
        """Of some tokens the likeliest that is allowed; None where none is. `logits` are of the whole vocabulary, or of
        the one token alone.
        """
        data = np.zeros(len(tokens), _DATA)
        data["id"], data["logit"] = tokens, logits[tokens] if len(logits) > 1 else logits
        array = llama_cpp.llama_token_data_array()
        array.data = data.ctypes.data_as(llama_cpp.llama_token_data_p)
        array.size, array.selected, array.sorted = len(tokens), -1, False
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        best = int(data["logit"].argmax())
        return int(tokens[best]) if np.isfinite(data["logit"][best]) else None
