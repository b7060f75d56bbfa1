"""The rows that quantization is calibrated on, as token ids, and the float student that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edgedistill.ml import training, weights
from edgedistill.ml.imatrix import importance
from edgedistill.ml.turns import end_ids, load_tokenizer, turns
from edgedistill.models import Model

__all__ = ["importance", "opened", "rows"]

_WINDOW = 256
"""Tokens of running text that make a row."""


def rows(
    path: Path, pairs: Sequence[tuple[str, str]], documents: Sequence[str], max_tokens: int
) -> list[tuple[list[int], int]]:
    """Token ids and where the answer begins: conversations in the chat template as they are trained on, whole ones
    only; running text cut into windows, each behind the begin token that the tokenizer puts before a text.
    """
    tokenizer = load_tokenizer(path)
    encoded = turns(tokenizer, end_ids(path, tokenizer), list(pairs)) if pairs else []
    found = [(turn.input_ids, len(turn.prompt_ids)) for turn in encoded]
    begin = tokenizer("")["input_ids"][:1]
    own = min(_WINDOW, max_tokens) - len(begin)
    for document in documents:
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        found += [(begin + ids[at : at + own], 1) for at in range(0, len(ids), own)]
    return [(ids, first) for ids, first in found if 2 <= len(ids) <= max_tokens]


@contextmanager
def opened(student: Model) -> Iterator[Any]:
    """The student in float32, on a GPU where there is one, for reading only."""
    with training.settled():
        model = weights.load(student, torch.float32, longest=1 << 20).eval().requires_grad_(False)
        model = model.to("cuda") if torch.cuda.is_available() else model
        try:
            yield model
        finally:
            del model
            weights.free()
