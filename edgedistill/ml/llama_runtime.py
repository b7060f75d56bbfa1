"""llama.cpp through its C functions: a GGUF file in memory, and many sequences that decode side by side.

The high-level class of the binding runs one conversation at a time; a few hundred test items want the batch. Sequences
have a cache of their own each (`kv_unified` off): with a common cache, every token would look through the cells of all.

Source  include/llama.h of the llama.cpp that llama-cpp-python 0.3.36 brings.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np

from edgedistill.errors import StageFailed, UsageError

BATCH = 1024
"""Tokens handed to llama.cpp at once."""
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


def default_threads() -> int:
    """What OMP_NUM_THREADS says, else the cores that this process may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Weights:
    """A GGUF file in memory, with its vocabulary."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"GGUF file {path} does not exist")
        llama_cpp.llama_backend_init()
        # Set after the binding's import, which sets one of its own.
        llama_cpp.llama_log_set(_keep_errors, ctypes.c_void_p(0))
        _errors.clear()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            said = next((line for line in _errors if "error" in line), "it gave no reason")
            raise UsageError(f"llama.cpp cannot load {path}: {said}", "the file is not a whole GGUF that it knows")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocab)

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

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        if not tokens:
            return ""
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        room = 64 * len(tokens)
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_detokenize(self.vocab, ids, len(tokens), text, room, False, False)
            if count >= 0:
                return text.raw[:count].decode("utf-8", "replace")
            room = -count

    def ends(self, token: int) -> bool:
        """Whether the token ends an answer."""
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def close(self) -> None:
        if self.model:
            llama_cpp.llama_model_free(self.model)
            self.model = None


class Sequences:
    """`count` sequences of at most `room` tokens each, numbered from 0, empty at first."""

    def __init__(self, weights: Weights, count: int, room: int, threads: int, outputs: int | None = None) -> None:
        """`outputs`: logits asked for in one `feed`, when they are more than one per sequence."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = count * -(-room // CACHE_BLOCK) * CACHE_BLOCK
        params.n_batch = max(BATCH, count)
        params.n_ubatch = min(512, params.n_batch)
        params.n_seq_max = count
        params.n_outputs_max = outputs or count
        params.n_outputs_max_per_seq = outputs or 1
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        params.no_perf = True
        self._weights = weights
        self._context = llama_cpp.llama_init_from_model(weights.model, params)
        if not self._context:
            raise StageFailed(
                f"llama.cpp cannot make room for {count} sequences of {room} tokens", "set a smaller `validate.context`"
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)
        self._batch_size = params.n_batch
        self._lengths = [0] * count

    def feed(self, rows: Sequence[tuple[int, Sequence[int]]]) -> np.ndarray:
        """Append tokens to sequences.

        rows     (sequence, its next tokens, one or more)
        returns  (rows, vocabulary) float32   logits after the last token of each row
        """
        marked = [
            (sequence, self._lengths[sequence] + offset, token, offset == len(tokens) - 1)
            for sequence, tokens in rows
            for offset, token in enumerate(tokens)
        ]
        for sequence, tokens in rows:
            self._lengths[sequence] += len(tokens)
        return self._decode(marked)

    def feed_all(self, sequence: int, tokens: Sequence[int]) -> np.ndarray:
        """Append tokens to one sequence; (tokens, vocabulary) float32 logits after each of them."""
        begin = self._lengths[sequence]
        self._lengths[sequence] += len(tokens)
        return self._decode([(sequence, begin + offset, token, True) for offset, token in enumerate(tokens)])

    def _decode(self, marked: Sequence[tuple[int, int, int, bool]]) -> np.ndarray:
        """marked: (sequence, position, token, whether its logits are wanted)."""
        logits = []
        for begin in range(0, len(marked), self._batch_size):
            part = marked[begin : begin + self._batch_size]
            batch = self._batch
            batch.n_tokens = len(part)
            for place, (sequence, position, token, is_wanted) in enumerate(part):
                batch.token[place] = token
                batch.pos[place] = position
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = sequence
                batch.logits[place] = is_wanted
            code = llama_cpp.llama_decode(self._context, batch)
            if code != 0:
                raise StageFailed(f"llama.cpp stopped with code {code} on a batch of {len(part)} tokens")
            wanted = sum(row[3] for row in part)
            if wanted:
                shape = (wanted, self._weights.size)
                logits.append(np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), shape=shape).copy())
        return np.concatenate(logits)

    def share(self, source: int) -> None:
        """Every sequence becomes a copy of this one."""
        for sequence in range(len(self._lengths)):
            if sequence != source:
                llama_cpp.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)
                self._lengths[sequence] = self._lengths[source]

    def cut(self, sequence: int, length: int) -> None:
        """Forget what lies beyond the first `length` tokens."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)
        self._lengths[sequence] = length

    def close(self) -> None:
        if self._context:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
            self._context = None
