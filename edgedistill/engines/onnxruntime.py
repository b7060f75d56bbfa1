"""Plain ONNX Runtime: a decoder graph that takes and gives its KV cache, beside Hugging Face's tokenizer files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgedistill.errors import UsageError
from edgedistill.models import Model

if TYPE_CHECKING:
    from edgedistill.ml.stepwise import StepwiseEngine

VERSION = 1
FORMAT = "onnx"
PACKAGES = ("onnxruntime", "tokenizers", "transformers")


def open_engine(model: Model) -> NoReturn:
    """It runs what the exporter wrote, and no folder in Hugging Face layout."""
    raise UsageError(f"engine `onnxruntime` checks candidates; it cannot open {model.path}", "use `hf` or `llama`")


def open_file(path: Path, *, context: int, threads: int | None = None) -> StepwiseEngine:
    """An exported folder, for conversations of at most `context` tokens, answer included.

    Raises  CannotRun when the runtime cannot load it
    """
    from edgedistill.ml.ort_runtime import FolderWords, OrtReader
    from edgedistill.ml.stepwise import StepwiseEngine

    words = FolderWords(path)
    return StepwiseEngine(path.name, OrtReader(path, context, threads), words, words.end_ids, context)
