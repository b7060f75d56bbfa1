"""Plain ONNX Runtime: a decoder graph with its keys and values as inputs and outputs, as Optimum writes it.

What the graph does not hold, an app has to write: positions, the attention mask, the cache from one step to the next,
and the tokenizer, which here is Hugging Face's on the exported files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from edgedistill.engine import Messages
from edgedistill.errors import CannotRun, UsageError
from edgedistill.files import read_json
from edgedistill.ml.threads import default_threads
from edgedistill.ml.turns import end_ids, load_tokenizer
from edgedistill.onnx_file import GRAPH

_OF_THE_LIBRARY = (
    states.EngineError,
    states.EPFail,
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.ModelRequiresCompilation,
    states.NoModel,
    states.NoSuchFile,
    states.NotFound,
    states.NotImplemented,
    states.RuntimeException,
)
"""Every failure that it has a class for: it has no common one."""
_PAST, _PRESENT = "past_key_values.", "present."
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SHORTEST = 64
"""Tokens that the cache is made for at first."""


class OrtReader:
    """See `stepwise.Reader`. The cache is numpy arrays, (1, heads, tokens, head size) per layer and key or value."""

    def __init__(self, folder: Path, context: int | None, threads: int | None) -> None:
        """Raises CannotRun when the runtime cannot load the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
        except _OF_THE_LIBRARY as error:
            raise CannotRun(f"ONNX Runtime cannot load {folder}: {_first_line(error)}") from error
        settings = read_json(folder / "config.json")
        trained = settings.get("max_position_embeddings") or settings.get("n_positions") or 2048
        self.context = min(context or trained, trained)
        self._name = folder.name
        inputs = {given.name: given for given in self._session.get_inputs()}
        self._has_positions = "position_ids" in inputs
        self._past = {name: _empty(given) for name, given in inputs.items() if name.startswith(_PAST)}
        self._outputs = ["logits", *(name.replace(_PAST, _PRESENT) for name in self._past)]
        self._length = 0

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        return self.feed_all(ids)[-1]

    def feed_all(self, ids: Sequence[int]) -> np.ndarray:
        end = self._length + len(ids)
        given: dict[str, np.ndarray] = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            **self._past,
        }
        if self._has_positions:
            given["position_ids"] = np.arange(self._length, end, dtype=np.int64)[None]
        try:
            logits, *present = self._session.run(self._outputs, given)
        except _OF_THE_LIBRARY as error:
            raise CannotRun(f"ONNX Runtime cannot run {self._name}: {_first_line(error)}") from error
        self._past, self._length = dict(zip(self._past, present, strict=True)), end
        found: np.ndarray = logits[0].astype(np.float32)
        return found

    def rewind(self, length: int) -> None:
        self._past = {name: kept[:, :, :length] for name, kept in self._past.items()}
        self._length = length

    def close(self) -> None:
        del self._session
        self._past = {}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _empty(given: Any) -> np.ndarray:
    """A cache of no tokens, in the shape and type that the graph wants."""
    _, heads, _, size = given.shape
    return np.zeros((1, heads, 0, size), _DTYPES[given.type])


class FolderWords:
    """See `stepwise.Words`: Hugging Face's tokenizer on the exported files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = load_tokenizer(folder)
        self.end_ids = end_ids(folder, self._tokenizer)

    def render(self, messages: Messages) -> str:
        import jinja2

        try:
            text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except (jinja2.TemplateError, ValueError) as error:
            raise UsageError(f"the chat template in {self._folder.name} refuses the conversation: {error}") from error
        assert isinstance(text, str)
        return text

    def ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return found

    def text(self, ids: Sequence[int]) -> str:
        found: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return found
