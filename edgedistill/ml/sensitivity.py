"""How much a student's answers change when one weight matrix is stored in fewer bits.

Each matrix in turn is rounded to a low type, and the KL divergence of the next-token distributions is measured on rows
that the importance matrix has not seen. To second order that KL grows with the square of the error in what the matrix
computes, so one measurement and the errors of all types (cheap, no model runs) give the KL of every type.

Source  ours; the sum over matrices as a cost to be minimized is that of HAWQ-V2, arXiv:1911.03852v1, eq. 3
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from edgedistill.errors import StageFailed
from edgedistill.imatrix_file import Importance
from edgedistill.mix import ladder
from edgedistill.ml import gguf_names
from edgedistill.ml.ggml_types import rounded
from edgedistill.ml.imatrix import BATCH_TOKENS, batches

_MEASURED = ("Q3_K", "Q4_0", "F16")
"""The type that a matrix is measured in, the first that its rows allow: low enough to be seen clear of rounding, and
not so low that the model falls apart."""
_SAMPLED_ROWS = 512
"""Of a matrix, evenly spread, that the errors of its types are taken from."""
_MOST_LOGITS = 1 << 27
"""Log probabilities of the unchanged model that are kept, and that a batch may have: 512 MiB. For a vocabulary of
150,000 tokens that is 880 compared tokens."""

Row = tuple[Sequence[int], int]
"""Token ids, and where the compared part (the answer) begins."""


@dataclass(frozen=True)
class _Matrix:
    name: str
    """In a GGUF file."""
    weight: Tensor
    """(rows, columns), a view of the model's parameter."""


@dataclass(frozen=True)
class _Batch:
    ids: Tensor
    """(B, T) int64, padded on the right"""
    is_real: Tensor
    """(B, T) bool"""
    columns: Tensor
    """Positions of which at least one row's next token is compared."""
    is_compared: Tensor
    """(B, columns) bool"""
    log_probs: Tensor
    """(N, V) of the unchanged model"""


def matrices(model: Any, path: Path) -> list[_Matrix]:
    """All that a quantization rounds: the layers' matrices, the head, and an embedding that is not the head."""
    found = [
        _Matrix(name, module.weight.data.T if isinstance(module, Conv1D) else module.weight.data)
        for name, module in gguf_names.matrices(model, path).items()
    ]
    head = gguf_names.head_name(model)
    if head != gguf_names.EMBEDDING:
        found.append(_Matrix(gguf_names.EMBEDDING, model.get_input_embeddings().weight.data))
    return [*found, _Matrix(head, model.get_output_embeddings().weight.data)]


class Sensitivity:
    """Of one student on one set of rows."""

    def __init__(self, model: Any, rows: Sequence[Row], importance: Mapping[str, Importance]):
        """As many of the rows, in their order, as the memory for log probabilities allows.

        Raises  StageFailed where no row has a token to compare
        """
        self.model, self.importance = model, importance
        room = max(1, _MOST_LOGITS // model.config.get_text_config().vocab_size)
        self._batches = list(self._prepared(list(_within(rows, room)), room))
        if not self.positions:
            raise StageFailed("calibrate: no row has an answer to compare tensors on", "give longer rows")

    @property
    def positions(self) -> int:
        """Next tokens that are compared."""
        return sum(len(batch.log_probs) for batch in self._batches)

    def measure(self, matrix: _Matrix) -> dict[str, Any]:
        """`kl`, in nats per compared token, with the matrix in the type `measured`; `errors` of all its types."""
        original = matrix.weight.clone()
        weight = original.cpu().numpy()
        means = self._means(matrix.name)
        sample = weight[:: max(1, len(weight) // _SAMPLED_ROWS)]
        types = ladder(weight.shape[1])
        errors = {kind: _error(sample, kind, means) for kind in types}
        measured = next(kind for kind in _MEASURED if kind in types)
        matrix.weight.copy_(torch.from_numpy(rounded(weight, measured, means)))
        kl = self.kl()
        matrix.weight.copy_(original)
        return {
            "tensor": matrix.name,
            "dimensions": list(weight.shape),
            "measured": measured,
            "kl": kl,
            "errors": errors,
        }

    def kl(self) -> float:
        """Of the model as it is now from the unchanged one: mean over compared tokens, nats."""
        total = sum(float(_kl(batch.log_probs, self._log_probs(batch)).sum()) for batch in self._batches)
        return total / self.positions

    def _means(self, name: str) -> NDArray[np.float32] | None:
        found = self.importance.get(name)
        return found.means[0] if found is not None and len(found.sums) == 1 else None

    def _prepared(self, rows: Sequence[Row], room: int) -> Iterator[_Batch]:
        begins = {tuple(ids): begin for ids, begin in rows}
        device = next(self.model.parameters()).device
        for ids, is_real in batches([ids for ids, _ in rows], device, min(BATCH_TOKENS, room)):
            is_compared = torch.zeros_like(is_real)
            for number, size in enumerate(is_real.sum(1).tolist()):
                begin = begins[tuple(ids[number, :size].tolist())]
                is_compared[number, max(begin, 1) - 1 : size - 1] = True  # position t predicts token t + 1
            columns = is_compared.any(0).nonzero().squeeze(1)
            batch = _Batch(ids, is_real, columns, is_compared[:, columns], torch.empty(0))
            yield _Batch(ids, is_real, columns, batch.is_compared, self._log_probs(batch))

    def _log_probs(self, batch: _Batch) -> Tensor:
        with torch.inference_mode():
            logits = self.model(
                input_ids=batch.ids,
                attention_mask=batch.is_real.long(),
                use_cache=False,
                logits_to_keep=batch.columns,
            ).logits
            return torch.log_softmax(logits[batch.is_compared].float(), dim=-1)


def _within(rows: Sequence[Row], room: int) -> Iterator[Row]:
    """The first rows with `room` compared tokens between them; the last one ends where the room does."""
    for ids, begin in rows:
        first = max(begin, 1)
        taken = min(len(ids) - first, room)
        if taken > 0:
            yield ids[: first + taken], begin
            room -= taken


def _error(weight: NDArray[np.float32], kind: str, means: NDArray[np.float32] | None) -> float:
    """The expected square of what rounding changes in a matrix's outputs, summed over them, columns independent:
    sum over c of E[x_c^2] * sum over r of (w_rc - rounded w_rc)^2.
    """
    squares = np.square(rounded(weight, kind, means) - weight, dtype=np.float64).sum(0)
    return float(squares.sum() if means is None else squares @ means)


def _kl(before: Tensor, after: Tensor) -> Tensor:
    """(N, V), (N, V) natural logs -> (N,) KL from before to after."""
    return torch.sum(before.exp() * (before - after), dim=-1, dtype=torch.float64)
