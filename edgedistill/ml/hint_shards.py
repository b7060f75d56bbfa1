"""What a teacher holds likeliest at each answer token of the rows: numbered safetensors shards, read in pieces.

    ids        (N, K)      uint16 or int32   the teacher's likeliest tokens; uint16 where the vocabulary has room in it
    log_probs  (N, K + 1)  float16           theirs, natural logarithm, and that of the rest; (N, K) where K = V
    lengths    (R,)        int32             answer tokens of each row; 0 where the row was left out

N is the answer tokens of all R rows of the shard, one row behind the other. A token takes 2 or 4 bytes for each id and
2 for each log probability: with K = 32, 130 bytes up to 65,536 tokens and 194 beyond.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from edgedistill.engine import Likeliest
from edgedistill.ml.disk import full_disk_is_an_os_error
from edgedistill.ml.losses import with_rest

ROWS = 64
"""Rows of a shard."""
_SMALL = 1 << 16
_LEAST = -65504.0
"""The least that float16 can hold."""


def path_of(folder: Path, number: int) -> Path:
    return folder / f"{number:04}.safetensors"


def bytes_per_token(kept: int, vocabulary: int) -> int:
    """Of the shards, without their headers."""
    rest = kept < vocabulary
    return kept * (2 if vocabulary <= _SMALL else 4) + 2 * (kept + rest)


def write(path: Path, rows: Sequence[Likeliest | None], kept: int, vocabulary: int) -> None:
    """One shard, whole or not at all; None for a row that was left out. `vocabulary`: rows of the student's embedding,
    and all ids are below it."""
    present = [row for row in rows if row is not None]
    ids = np.concatenate([row.ids[:, :kept] for row in present] or [np.zeros((0, kept), np.int32)])
    log_probs = np.concatenate([row.log_probs[:, :kept] for row in present] or [np.zeros((0, kept), np.float32)])
    if ids.shape[1] < vocabulary:
        log_probs = with_rest(torch.from_numpy(log_probs.astype(np.float32))).numpy()
    content = {
        "ids": ids.astype(np.uint16 if vocabulary <= _SMALL else np.int32),
        "log_probs": np.maximum(log_probs, _LEAST).astype(np.float16),
        "lengths": np.array([0 if row is None else len(row.own) for row in rows], np.int32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with full_disk_is_an_os_error(path.parent):
        save_file(content, beside)
    beside.replace(path)


class HintShards:
    """The shards of one teacher, opened as they are needed; pages come in when a row is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[int, tuple[safe_open, np.ndarray, np.ndarray]] = {}

    def length(self, row: int) -> int:
        """Answer tokens of a row; 0 where it was left out."""
        _, lengths, _ = self._shard(row // ROWS)
        return int(lengths[row % ROWS])

    def row(self, row: int) -> tuple[Tensor, Tensor]:
        """Token ids (T, K) int64, and log-probabilities (T, K + 1) or (T, K) float32."""
        file, lengths, ends = self._shard(row // ROWS)
        end = int(ends[row % ROWS])
        begin = end - int(lengths[row % ROWS])
        ids, log_probs = (file.get_slice(name)[begin:end] for name in ("ids", "log_probs"))
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(log_probs.astype(np.float32))

    def _shard(self, number: int) -> tuple[safe_open, np.ndarray, np.ndarray]:
        if number not in self._opened:
            file = safe_open(path_of(self._folder, number), framework="numpy")
            lengths = file.get_tensor("lengths")
            self._opened[number] = file, lengths, lengths.cumsum()
        return self._opened[number]
