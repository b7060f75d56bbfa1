"""onnxruntime-genai: a model folder in memory, its one sequence, its tokenizer.

Source  onnxruntime-genai 0.18.0. `AppendTokens` and `RewindTo` take a batch of one only, hence one sequence at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai

from edgedistill.engine import Messages
from edgedistill.errors import CannotRun, UsageError
from edgedistill.files import read_json
from edgedistill.ml.threads import default_threads
from edgedistill.onnx_file import GRAPH

_OF_THE_LIBRARY = (RuntimeError, ValueError)  # it has no errors of its own; ValueError: text that is not UTF-8


def load(folder: Path, threads: int | None) -> Any:
    """The model of a folder. Raises CannotRun when the library cannot load it."""
    onnxruntime_genai.set_log_options(enabled=False)
    options = {"intra_op_num_threads": threads or default_threads(), "inter_op_num_threads": 1}
    try:
        config = onnxruntime_genai.Config(str(folder))
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        return onnxruntime_genai.Model(config)
    except _OF_THE_LIBRARY as error:
        raise CannotRun(f"onnxruntime-genai cannot load {folder}: {_first_line(error)}") from error


class GenaiReader:
    """See `stepwise.Reader`."""

    def __init__(self, model: Any, folder: Path, context: int | None) -> None:
        trained = read_json(folder / "genai_config.json")["model"]["context_length"]
        self.context = min(context or trained, trained)
        # A graph without this node (16-bit floats on a CPU) reads a whole prompt, then one token at a time, and cannot
        # be taken back: it begins again.
        self._reads_on = b"GroupQueryAttention" in (folder / GRAPH).read_bytes()
        self._model, self._name = model, folder.name
        self._read: list[int] = []
        self._begin()

    def _begin(self) -> None:
        parameters = onnxruntime_genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=self.context, do_sample=False)
        with _named(self._name):
            self._generator = onnxruntime_genai.Generator(self._model, parameters)

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        for part in self._parts(ids):
            self._append(part)
        logits: np.ndarray = self._generator.get_logits()[0, -1].astype(np.float32)
        return logits

    def feed_all(self, ids: Sequence[int]) -> np.ndarray:
        found = []
        for part in self._parts(ids):
            self._append(part)
            found.append(self._generator.get_output("logits")[0].astype(np.float32))
        return np.concatenate(found)[-len(ids) :]

    def _append(self, part: list[int]) -> None:
        with _named(self._name):
            self._generator.append_tokens(np.array([part], np.int32))

    def _parts(self, ids: Sequence[int]) -> list[list[int]]:
        """What is handed over together; behind a new beginning, all that was read before."""
        before, self._read = self._read, [*self._read, *ids]
        if self._generator.token_count() == 0:
            return [self._read]
        assert len(before) == self._generator.token_count()
        return [list(ids)] if self._reads_on else [[token] for token in ids]

    def rewind(self, length: int) -> None:
        del self._read[length:]
        if self._reads_on:
            self._generator.rewind_to(length)
        else:
            self._begin()

    def close(self) -> None:
        del self._generator, self._model


class GenaiWords:
    """See `stepwise.Words`."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._folder = folder
        try:
            self._tokenizer = onnxruntime_genai.Tokenizer(model)
            self._tokenizer.update_options(add_special_tokens="false")
        except _OF_THE_LIBRARY as error:
            raise CannotRun(f"onnxruntime-genai cannot read the tokenizer in {folder}: {_first_line(error)}") from error

    def render(self, messages: Messages) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
        except _OF_THE_LIBRARY as error:
            raise UsageError(
                f"the chat template in {self._folder.name} refuses the conversation: {_first_line(error)}"
            ) from error
        return text

    def ids(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text)]

    def text(self, ids: Sequence[int]) -> str:
        with _named(self._folder.name):
            decoded: str = self._tokenizer.decode(np.array(ids, np.int32))
        # The library leaves out all that follows bytes which are no character; what was said is in the ids.
        return str(self._decoder.decode(list(ids))) if "\ufffd" in decoded else decoded

    @cached_property
    def _decoder(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self._folder / "tokenizer.json"))


@contextmanager
def _named(folder: str) -> Iterator[None]:
    """What the library says when it cannot run a graph, under the folder's name."""
    try:
        yield
    except _OF_THE_LIBRARY as error:
        raise CannotRun(f"onnxruntime-genai cannot run {folder}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
