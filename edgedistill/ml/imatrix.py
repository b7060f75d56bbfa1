"""How much each column of each weight matrix matters: the sum of squares of what flows into it, by hooks in torch.

Quantization spends its precision on columns with large inputs. llama-imatrix measures the same in llama.cpp, on text
that is cut into chunks; here every row is a sequence of its own, as the student is going to meet it.

Source  tools/imatrix/imatrix.cpp of llama.cpp, `collect_imatrix`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgedistill.imatrix_file import Importance
from edgedistill.ml import gguf_names

BATCH_TOKENS = 2048
"""Tokens that go through the model together, padding included."""


class _Sums:
    """What the hooks add up. Several matrices read the same input (queries, keys, values): it is squared once."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tensor] = {}
        self.tokens = 0
        self.kept: Tensor | None = None
        """Places of the batch, flattened, that are no padding; None: all."""
        self._last: tuple[Tensor, Tensor] | None = None

    def begin(self, is_real: Tensor) -> None:
        """is_real  (B, T) bool: False where a row is padded"""
        self.kept = None if is_real.all() else is_real.flatten().nonzero().squeeze(1)
        self.tokens += int(is_real.sum())

    def add(self, name: str, inputs: Tensor) -> None:
        """inputs  (B, T, C) float"""
        if self._last is None or self._last[0] is not inputs:
            flat = inputs.reshape(-1, inputs.shape[-1])
            flat = flat if self.kept is None else flat[self.kept]
            self._last = (inputs, torch.linalg.vector_norm(flat.float(), dim=0).square())
        if name in self.by_name:
            self.by_name[name] += self._last[1]
        else:
            self.by_name[name] = self._last[1].double()

    def end(self) -> None:
        self._last = None


def importance(
    model: Any, path: Path, rows: Sequence[Sequence[int]], on_done: Callable[[int], None] = lambda n: None
) -> dict[str, Importance]:
    """GGUF tensor name -> importance, of all layers' matrices and of the head.

    rows  token ids, each row a sequence of its own
    """
    sums, matrices = _Sums(), gguf_names.matrices(model, path)
    with _hooked(matrices, sums), torch.inference_mode():
        for batch, is_real in batches(rows, next(model.parameters()).device):
            sums.begin(is_real)
            # Without the head: its input is all that counts, and logits over the vocabulary would be half the work.
            hidden = model.base_model(input_ids=batch, attention_mask=is_real.long(), use_cache=False)[0]
            sums.add(gguf_names.head_name(model), hidden)
            sums.end()
            on_done(len(batch))
    count = torch.tensor([sums.tokens], dtype=torch.float32).numpy()
    return {name: Importance(total.float().cpu().numpy()[None], count) for name, total in sums.by_name.items()}


@contextmanager
def _hooked(matrices: dict[str, nn.Module], sums: _Sums) -> Iterator[None]:
    handles = [
        module.register_forward_pre_hook(lambda module, given, name=name: sums.add(name, given[0]))
        for name, module in matrices.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def batches(
    rows: Sequence[Sequence[int]], device: torch.device, most_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, T) int64 ids padded on the right, and (B, T) bool which are real; rows of like length together.

    most_tokens  of a batch, padding included; a longer row is a batch of its own
    """
    order = sorted(range(len(rows)), key=lambda number: (len(rows[number]), number))
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * len(rows[order[end]]) <= most_tokens:
            end += 1
        some = [rows[number] for number in order[start:end]]
        longest = len(some[-1])
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in some], device=device)
        lengths = torch.tensor([len(row) for row in some], device=device)
        yield ids, torch.arange(longest, device=device) < lengths[:, None]
        start = end
