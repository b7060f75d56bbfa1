"""llama.cpp through its C functions: a GGUF file in memory, and many sequences that decode side by side.

The high-level class of the binding runs one conversation at a time; a few hundred test items want the batch. Sequences
have a cache of their own each (`kv_unified` off): with a common cache, every token would look through the cells of all.

Source  include/llama.h of the llama.cpp that llama-cpp-python 0.3.36 brings.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from edgedistill.errors import CannotRun, UsageError

BATCH = 1024
"""Tokens handed to llama.cpp at once."""
COMPUTED = 256
"""Of these, how many go through the layers together. For a model of 3 million parameters, 256 were 5 to 15% faster than
the usual 512, and 64 were slower: what is between the layers stays in the processor's own cache."""
CACHE_BLOCK = 256
"""llama.cpp rounds the cache of a sequence up to whole blocks of this many tokens."""

_ERROR = 4  # enum ggml_log_level
_errors: list[str] = []


@llama_cpp.llama_log_callback
def _keep_errors(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    # Called from C for every line; anything but an error is noise, about 100 lines per model.
    if level == _ERROR:
        line = text.decode("utf-8", "replace").rstrip()
        _errors.append(line)
        print(f"llama.cpp: {line}", file=sys.stderr)


class Weights:
    """A GGUF file in memory, with its vocabulary."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"GGUF file {path} does not exist")
        llama_cpp.llama_backend_init()
        # Set after the binding's import, which sets one of its own.
        llama_cpp.llama_log_set(_keep_errors, ctypes.c_void_p(0))
        _errors.clear()
        settings = llama_cpp.llama_model_default_params()
        settings.check_tensors = True  # NaN, infinite and impossible scales are named, not computed with
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
        if not self.model:
            said = next((line for line in _errors if "error" in line), "it gave no reason")
            raise CannotRun(f"llama.cpp cannot load {path}: {said}", "the file is not a whole GGUF that it knows")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.trained_context = llama_cpp.llama_model_n_ctx_train(self.model)
        self._with: dict[str, frozenset[int]] = {}

    def chat_template(self) -> str | None:
        """Metadata `tokenizer.chat_template`."""
        template = llama_cpp.llama_model_chat_template(self.model, None)
        return template.decode("utf-8") if template else None

    def token_text(self, token: int) -> str:
        """As the vocabulary writes it; empty for -1, which says that there is none."""
        return llama_cpp.llama_vocab_get_text(self.vocab, token).decode("utf-8") if token >= 0 else ""

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        """Token ids. Special tokens written out in the text count as such; `add_special` adds what the file says."""
        raw = text.encode("utf-8")
        room = len(raw) + 8
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), ids, room, add_special, True)
        assert count >= 0, count
        return list(ids[:count])

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Text, without special tokens unless `special`. An id that the vocabulary lacks becomes U+FFFD, and so does
        what follows it: llama.cpp would end the process on it."""
        unknown = next((place for place, token in enumerate(tokens) if not 0 <= token < self.size), None)
        if unknown is not None:
            return self.detokenize(tokens[:unknown], special=special) + "\ufffd"
        if not tokens:
            return ""
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        room = 64 * len(tokens)
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_detokenize(self.vocab, ids, len(tokens), text, room, False, special)
            if count >= 0:
                return text.raw[:count].decode("utf-8", "replace")
            room = -count

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset(token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self.vocab, token))

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """Tokens that the file marks as control tokens or as the user's own, and that are found in text before all."""
        marks = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        attributes = ((n, llama_cpp.llama_vocab_get_attr(self.vocab, n)) for n in range(self.size))
        return frozenset(token for token, attribute in attributes if attribute & marks)

    def tokens_with(self, character: str) -> frozenset[int]:
        """Tokens that may complete a text which ends with this character: only after them is it worth looking for."""
        # Vocabularies write spaces, newlines and non-ASCII letters in ways of their own.
        if not (character.isascii() and character.isprintable() and character != " "):
            return frozenset(range(self.size))
        if character not in self._with:
            pieces = enumerate(map(self.token_text, range(self.size)))
            self._with[character] = frozenset(token for token, piece in pieces if character in piece)
        return self._with[character]

    def close(self) -> None:
        if self.model:
            llama_cpp.llama_model_free(self.model)
            self.model = None


class Batch:
    """`llama_batch` over numpy arrays, so that it is filled without a Python loop over tokens."""

    def __init__(self, size: int, sequences: int) -> None:
        self.size = size
        self._token, self._position, self._count = (np.zeros(size, np.int32) for _ in range(3))
        self._is_wanted = np.zeros(size, np.int8)
        # A token's sequences are numbers in a row: it points to the first of them in this table.
        self._table = np.arange(sequences, dtype=np.int32)
        self._pointer = np.zeros(size, np.uint64)
        self._batch = llama_cpp.llama_batch()
        arrays: dict[str, Any] = {
            "token": self._token,
            "pos": self._position,
            "n_seq_id": self._count,
            "seq_id": self._pointer,
            "logits": self._is_wanted,
        }
        for name, array in arrays.items():
            setattr(self._batch, name, array.ctypes.data_as(type(getattr(self._batch, name))))

    def fill(self, tokens: Tokens) -> llama_cpp.llama_batch:
        """The batch of at most `size` tokens, for `llama_decode`. It is overwritten by the next call."""
        count = len(tokens)
        assert count <= self.size, (count, self.size)
        self._token[:count] = tokens.ids
        self._position[:count] = tokens.positions
        self._pointer[:count] = self._table.ctypes.data + self._table.itemsize * tokens.sequences.astype(np.uint64)
        self._count[:count] = tokens.spans
        self._is_wanted[:count] = tokens.is_wanted
        self._batch.n_tokens = count
        return self._batch


@dataclass(frozen=True)
class Tokens:
    """Tokens for one call, (n,) each."""

    ids: np.ndarray
    positions: np.ndarray
    sequences: np.ndarray
    """First sequence that a token belongs to."""
    spans: np.ndarray
    """To how many sequences in a row it belongs."""
    is_wanted: np.ndarray
    """Whether the logits after it are wanted."""

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, begin: int, end: int) -> Tokens:
        """Tokens begin to end, as views."""
        cut = slice(begin, end)
        return Tokens(self.ids[cut], self.positions[cut], self.sequences[cut], self.spans[cut], self.is_wanted[cut])


class Sequences:
    """`count` sequences, numbered from 0, empty at first, in one context of llama.cpp."""

    def __init__(
        self,
        weights: Weights,
        count: int,
        cells: int,
        threads: int,
        outputs: int | None = None,
        *,
        is_unified: bool = False,
    ) -> None:
        """
        cells    tokens that the cache has room for: all sequences together when `is_unified`, else each
        outputs  logits asked for in one call, when they are more than one per sequence
        is_unified  one cache for all: a token of several sequences is held once, and `share` copies nothing. Otherwise
                 each sequence has a cache of its own, and looks through no cells but its own
        """
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = (1 if is_unified else count) * -(-cells // CACHE_BLOCK) * CACHE_BLOCK
        params.n_batch = max(BATCH, count)
        params.n_ubatch = COMPUTED
        params.n_seq_max = count
        params.n_outputs_max = max(outputs or count, count)
        params.n_outputs_max_per_seq = params.n_outputs_max if outputs else 1
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = is_unified
        params.no_perf = True
        self._weights = weights
        self._context = llama_cpp.llama_init_from_model(weights.model, params)
        if not self._context:
            raise CannotRun(
                f"llama.cpp cannot make room for {count} sequences of {cells} tokens",
                "set a smaller `validate.context`",
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = Batch(params.n_batch, count)
        self._lengths = np.zeros(count, np.int32)

    def feed(self, rows: Sequence[tuple[int, Sequence[int]]]) -> np.ndarray:
        """Append tokens to sequences.

        rows     (sequence, its next tokens, one or more)
        returns  (rows, vocabulary) float32   logits after the last token of each row; valid until the next call
        """
        sizes = np.fromiter((len(tokens) for _, tokens in rows), np.int32, len(rows))
        numbers = np.fromiter((sequence for sequence, _ in rows), np.int32, len(rows))
        ids = np.fromiter((token for _, tokens in rows for token in tokens), np.int32, int(sizes.sum()))
        ends = sizes.cumsum()
        is_wanted = np.zeros(len(ids), np.int8)
        is_wanted[ends - 1] = 1
        sequences = numbers.repeat(sizes)
        offsets = np.arange(len(ids), dtype=np.int32) - (ends - sizes).repeat(sizes)
        positions = self._lengths[sequences] + offsets
        self._lengths[numbers] += sizes
        return self.decode(Tokens(ids, positions, sequences, np.ones_like(ids), is_wanted))

    def step(self, sequences: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Append one token to each of n sequences; (n, vocabulary) float32 logits, valid until the next call."""
        numbers, ids = np.asarray(sequences, np.int32), np.asarray(tokens, np.int32)
        positions = self._lengths[numbers]
        self._lengths[numbers] += 1
        one = np.ones_like(ids)
        return self.decode(Tokens(ids, positions, numbers, one, one))

    def feed_all(self, sequence: int, tokens: Sequence[int]) -> np.ndarray:
        """Append tokens to one sequence; (tokens, vocabulary) float32 logits after each, valid until the next call."""
        ids = np.asarray(tokens, np.int32)
        positions = self._lengths[sequence] + np.arange(len(ids), dtype=np.int32)
        self._lengths[sequence] += len(ids)
        one = np.ones_like(ids)
        return self.decode(Tokens(ids, positions, np.full_like(ids, sequence), one, one))

    def decode(self, tokens: Tokens) -> np.ndarray:
        """(wanted, vocabulary) float32 logits, in the order of the tokens, valid until the next call."""
        logits = []
        for begin in range(0, len(tokens), self._batch.size):
            part = tokens.part(begin, begin + self._batch.size)
            code = llama_cpp.llama_decode(self._context, self._batch.fill(part))
            if code != 0:
                raise CannotRun(f"llama.cpp stopped with code {code} on a batch of {len(part)} tokens")
            wanted = int(np.count_nonzero(part.is_wanted))
            if wanted:
                shape = (wanted, self._weights.size)
                logits.append(np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), shape=shape))
                if begin + self._batch.size < len(tokens):
                    logits[-1] = logits[-1].copy()
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    def start(self, tokens: Sequence[int]) -> None:
        """Forget everything, then begin every sequence with these tokens, decoded once."""
        llama_cpp.llama_memory_clear(self._memory, False)
        self._lengths[:] = 0
        if not tokens:
            return
        self.feed([(0, tokens)])
        for sequence in range(1, len(self._lengths)):
            llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        self._lengths[:] = len(tokens)

    def rewind(self, length: int) -> None:
        """Forget of every sequence what lies beyond its first `length` tokens."""
        for sequence in range(len(self._lengths)):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)
        self._lengths[:] = length

    def close(self) -> None:
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None
