"""ONNX Runtime's generation library: a folder with genai_config.json, its own tokenizer and its own templates.

Rendering, tokens and the model all come from the exported folder and the library, as in an app: `Tokenizer` reads
tokenizer.json and chat_template.jinja with code that is not Hugging Face's, which is why parity looks at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgedistill.errors import UsageError
from edgedistill.files import read_json
from edgedistill.models import Model

if TYPE_CHECKING:
    from edgedistill.ml.stepwise import StepwiseEngine

VERSION = 1
FORMAT = "onnx_genai"
PACKAGES = ("onnxruntime-genai", "onnxruntime")


def open_engine(model: Model) -> NoReturn:
    """It runs what the exporter wrote, and no folder in Hugging Face layout."""
    raise UsageError(f"engine `onnx_genai` checks candidates; it cannot open {model.path}", "use `hf` or `llama`")


def open_file(path: Path, *, context: int, threads: int | None = None) -> StepwiseEngine:
    """An exported folder, for conversations of at most `context` tokens, answer included.

    Raises  CannotRun when the library cannot load it
    """
    from edgedistill.ml.genai_runtime import GenaiReader, GenaiWords, load
    from edgedistill.ml.stepwise import StepwiseEngine

    model = load(path, threads)
    return StepwiseEngine(path.name, GenaiReader(model, path, context), GenaiWords(model, path), _ends(path), context)


def _ends(path: Path) -> list[int]:
    ends = read_json(path / "genai_config.json")["model"]["eos_token_id"]
    return list(ends) if isinstance(ends, list) else [ends]
