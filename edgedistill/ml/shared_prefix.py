"""Keys and values of a batch in which rows share prefixes, and the attention that reads them.

A prefix is stored once per group and read by all its rows in one matrix product, where a plain batch would hold and
read one copy per row at every step. transformers calls both through its own interfaces, `Cache` and
`AttentionInterface`, so any model that uses these works, with grouped heads, sliding windows and soft caps.

Shapes   G groups, B rows, H query heads, K key/value heads, S new tokens per row, T own tokens per row,
         P prefix tokens, D head size
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, Cache

ATTENTION = "edgedistill_shared_prefix"
_GROW = 64
"""Own tokens that are added to the block of keys when it is full."""


@dataclass
class Prefix:
    """A beginning that rows share: per layer keys and values (K, P, D)."""

    length: int = 0
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class KeyValues(Cache):  # type: ignore[misc]
    """The cache of one batch. Rows are in the order of their groups; `counts[g]` of them read `prefixes[g]`.

    Own keys and values are one block per layer, (B, K, capacity, D). `positions` (B, capacity) tells which position
    of its row a column holds; -1 is padding. A layer's blocks lie on the device that the layer lies on, which may be
    another than that of the positions.
    """

    def __init__(self, prefixes: Sequence[Prefix], counts: Sequence[int], device: torch.device) -> None:
        super().__init__(layers=[])
        self.prefixes, self.counts = list(prefixes), list(counts)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.positions = torch.full((sum(counts), 0), -1, dtype=torch.long, device=device)
        self.used = 0
        self._new = 0
        self._branches: Tensor | None = None
        self._masks: dict[tuple[int | None, torch.device], tuple[Tensor, list[Tensor | None]]] = {}

    def begin(self, positions: Tensor, branches: Tensor | None = None) -> None:
        """Announce the (B, S) positions that the next forward pass computes.

        branches  (B, S) for a first pass whose rows fork: tokens of branch 0 are seen by all that follow, those of
                  another branch by their own branch alone
        """
        assert branches is None or self.used == 0, "only a first pass may fork"
        self._new, self._masks, self._branches = positions.shape[1], {}, branches
        end = self.used + self._new
        if end > self.positions.shape[1]:
            self.positions = F.pad(self.positions, (0, self._room(end) - self.positions.shape[1]), value=-1)
        self.positions[:, self.used : end] = positions

    def finish(self) -> None:
        """The forward pass is done: what it added stays."""
        self.used += self._new

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Add (B, K, S, D) keys and values of one layer; returns all own ones so far, (B, K, T, D)."""
        if layer == len(self.keys):  # the first pass: what is new is all there is
            self.keys.append(keys)
            self.values.append(values)
            return keys, values
        end = self.used + self._new
        for block, new in ((self.keys, keys), (self.values, values)):
            if end > block[layer].shape[2]:
                block[layer] = F.pad(block[layer], (0, 0, 0, self._room(end) - block[layer].shape[2]))
            block[layer][:, :, self.used : end] = new
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def _room(self, end: int) -> int:
        return end if self.used == 0 else end + _GROW

    def take(self, other: KeyValues, rows: slice, columns: int) -> None:
        """Copy the own tokens of `other` into `rows`, so that they end at column `columns`; room is made for more."""
        if not self.keys:
            count, room = self.positions.shape[0], columns + _GROW
            # Not zeros: touching the room for later tokens costs as much as encoding some of the prompts.
            self.keys = [block.new_empty(count, block.shape[1], room, block.shape[3]) for block in other.keys]
            self.values = [block.new_empty(count, block.shape[1], room, block.shape[3]) for block in other.values]
            self.positions = self.positions.new_full((count, room), -1)
            self.used = columns
        start = columns - other.used
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, block in enumerate(theirs):
                mine[layer][rows, :, :start] = 0  # padding weighs nothing, but 0 times NaN would be NaN
                mine[layer][rows, :, start:columns] = block[:, :, : other.used]
        self.positions[rows, start:columns] = other.positions[:, : other.used]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (ascending indices)."""
        self.keys = [block[rows.to(block.device)] for block in self.keys]
        self.values = [block[rows.to(block.device)] for block in self.values]
        self.positions = self.positions[rows]
        ends = torch.tensor(self.counts).cumsum(0)
        group_of = torch.bucketize(rows.cpu(), ends, right=True)
        left = torch.bincount(group_of, minlength=len(self.counts)).tolist()
        self.prefixes = [prefix for prefix, count in zip(self.prefixes, left, strict=True) if count]
        self.counts = [count for count in left if count]
        self._masks = {}

    def as_prefix(self) -> Prefix:
        """This cache of one row as the prefix of others."""
        length = self.used
        return Prefix(length, [k[0, :, :length] for k in self.keys], [v[0, :, :length] for v in self.values])

    def masks(self, window: int | None, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, list[Tensor | None]]:
        """What is added to the scores: own (B, S, T), and per group (rows, S, P), None where all of it is visible."""
        if (window, device) not in self._masks:
            end = self.used + self._new
            asked, held = self.positions[:, self.used : end, None], self.positions[:, None, :end]
            hidden = (held < 0) | (held > asked)
            if self._branches is not None:
                own, other = self._branches[:, :, None], self._branches[:, None, :]
                hidden |= (other > 0) & (other != own)
            if window is not None:
                hidden |= asked - held >= window
            prefixes: list[Tensor | None] = []
            for prefix, rows in zip(self.prefixes, asked.split(self.counts), strict=True):
                bias = None
                if window is not None and prefix.length and int(rows.max()) >= window:
                    bias = _bias(rows - torch.arange(prefix.length, device=rows.device) >= window, dtype)
                prefixes.append(bias)
            own_bias = _bias(hidden, dtype).to(device)
            self._masks[window, device] = own_bias, [None if bias is None else bias.to(device) for bias in prefixes]
        return self._masks[window, device]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.used


def _bias(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)


ACTIVE: ContextVar[KeyValues] = ContextVar("ACTIVE")
"""The cache of the forward pass that is running: transformers hands the attention its tensors, but not the cache."""


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each row over its group's prefix and its own tokens.

    Shapes   query (B, H, S, D), key and value (B, K, T, D): own tokens only; returns (B, S, H, D)
    """
    cache = ACTIVE.get()
    rows, heads, new, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    own_bias, prefix_biases = cache.masks(sliding_window, query.dtype, query.device)
    if new > 1 and softcap is None and not any(prefix.length for prefix in cache.prefixes):
        out = F.scaled_dot_product_attention(query, key, value, own_bias[:, None], scale=scale, enable_gqa=True)
        return out.transpose(1, 2), None
    kv_heads = key.shape[1]
    # One key/value head serves H / K query heads: they become rows of one product, and nothing is repeated.
    folded = (query * scale).reshape(rows, kv_heads, -1, size)  # (B, K, H/K * S, D)
    bias = own_bias[:, None].repeat(1, 1, heads // kv_heads, 1)  # (B, 1, H/K * S, T)
    own_scores = _capped(folded @ key.transpose(2, 3), softcap) + bias
    parts, start = [], 0
    for prefix, prefix_bias, count in zip(cache.prefixes, prefix_biases, cache.counts, strict=True):
        piece = slice(start, start + count)
        parts.append(
            _attend(folded[piece], own_scores[piece], value[piece], prefix, prefix_bias, module.layer_idx, softcap)
        )
        start += count
    out = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out.reshape(rows, heads, new, value.shape[3]).transpose(1, 2), None


def _attend(
    folded: Tensor,
    own_scores: Tensor,
    own_values: Tensor,
    prefix: Prefix,
    prefix_bias: Tensor | None,
    layer: int,
    softcap: float | None,
) -> Tensor:
    """One group: (rows, K, M, D) queries, with M = H/K * S."""
    if not prefix.length:
        return _softmax(own_scores) @ own_values
    rows, kv_heads, queries, size = folded.shape
    together = folded.transpose(0, 1).reshape(kv_heads, rows * queries, size)
    scores = _capped(together @ prefix.keys[layer].transpose(1, 2), softcap)
    scores = scores.view(kv_heads, rows, queries, prefix.length).transpose(0, 1)
    if prefix_bias is not None:
        scores = scores + prefix_bias[:, None].repeat(1, 1, queries // prefix_bias.shape[1], 1)
    weights = _softmax(torch.cat([scores, own_scores], dim=3))
    on_prefix, on_own = weights.split([prefix.length, own_scores.shape[3]], dim=3)
    folded_weights = on_prefix.transpose(0, 1).reshape(kv_heads, rows * queries, prefix.length)
    out = (folded_weights @ prefix.values[layer]).view(kv_heads, rows, queries, -1).transpose(0, 1)
    return out + on_own @ own_values


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)


# No mask function is registered under this name on purpose: transformers then builds none, and `masks` above is used.
AttentionInterface.register(ATTENTION, shared_prefix_attention)
