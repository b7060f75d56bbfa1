"""Batched generation for many short answers, on CPU or GPU.

For small models the cost is not the arithmetic but what surrounds it, so this loop encodes shared beginnings once,
keeps rows of like length together, draws all random numbers ahead, and drops finished rows from the batch.

Source   plain greedy search and ancestral sampling; the greedy text equals that of transformers' `generate`
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from edgedistill.errors import UsageError
from edgedistill.ml.loading import devices
from edgedistill.ml.memory import keep_freed
from edgedistill.ml.prefixes import Group, group_by_prefix
from edgedistill.ml.shared_prefix import ACTIVE, ATTENTION, KeyValues, Prefix

_DROP_SHARE = 8
"""Finished rows leave the batch when they are 1 / 8 of it: leaving costs one copy of the rest."""

_NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Limits:
    """How much work goes into one forward pass. None of it changes a result by more than rounding."""

    rows: int
    """Rows that are decoded together."""
    tokens: int
    """Prompt tokens that are encoded together."""
    cache_bytes: int
    """Memory for keys and values of one batch."""


CPU = Limits(rows=256, tokens=1024, cache_bytes=512 << 20)
CUDA = Limits(rows=512, tokens=16384, cache_bytes=8 << 30)


def _beside_weights(gpus: Sequence[torch.device]) -> Limits:
    """Half of what the weights left of the fullest GPU, on each, may hold keys and values, up to the limit."""
    free = min(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus) * len(gpus)
    return replace(CUDA, cache_bytes=min(CUDA.cache_bytes, free // 2))


@dataclass
class Batch:
    """Rows that are decoded together, after their prompts were encoded."""

    rows: list[int]
    """Index of each row in the call."""
    cache: KeyValues
    logits: Tensor
    """(rows, vocabulary) of the first answer token."""
    lengths: Tensor
    """(rows,) tokens so far."""


class Decoder:
    """A loaded model with its tokenizer. `generate` works on token ids and returns texts."""

    def __init__(self, path: Path, model: Any) -> None:
        """path: of the tokenizer. model: as ml/loading.py loads it, on one device or several; ids go to the first."""
        keep_freed()  # batches differ in size, as in training
        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        self.model = model.eval()
        computing = devices(model)
        self.device = computing[0]
        self.limits = _beside_weights(computing) if self.device.type == "cuda" else CPU
        self.context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or _NO_LIMIT
        self.end_ids = _end_ids(self.model, self.tokenizer)
        _use_shared_prefixes(self, path)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        temperature: float,
        seed: int,
        stop: str,
        on_done: Callable[[int], None],
        top_p: float = 1.0,
    ) -> list[str]:
        """One text per prompt, without special tokens. A row's random numbers depend on `seed` and its index alone."""
        ends = _StopText(self.tokenizer, stop)
        answers = self.answer_ids(prompts, max_tokens, temperature, seed, ends, on_done, top_p)
        return [ends.cut(self.text(ids)) for ids in answers]

    def answer_ids(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        ends: _StopText | None = None,
        on_done: Callable[[int], None] = lambda n: None,
        top_p: float = 1.0,
    ) -> list[list[int]]:
        """The answers as token ids, without the one that ends them; with a stop text, up to the token that has it."""
        answers: list[list[int]] = [[] for _ in prompts]
        ends = ends or _StopText(self.tokenizer, "")
        with torch.inference_mode():
            for batch in self._encode(prompts, max_tokens):
                picker = _Picker(batch.rows, max_tokens, temperature, seed, self.device, top_p)
                for row, ids in zip(batch.rows, self._decode(batch, max_tokens, picker, ends, on_done), strict=True):
                    answers[row] = ids
        return answers

    def first_token_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """(prompts, vocabulary) float32."""
        out: Tensor | None = None
        with torch.inference_mode():
            for batch in self._encode(prompts, 1):
                if out is None:
                    out = torch.empty(len(prompts), batch.logits.shape[1])
                out[batch.rows] = batch.logits.cpu()
        return torch.empty(0, 0) if out is None else out

    def last_logits(self, ids: Sequence[int], count: int) -> Tensor:
        """(count, vocabulary) float32 after the last `count` tokens of one row."""
        self.check_lengths([ids[:-1]])
        row = torch.tensor([list(ids)], device=self.device)
        with torch.inference_mode():
            cache = KeyValues([Prefix()], [1], self.device)
            return self.forward(row, torch.arange(len(ids), device=self.device)[None], cache, count)[0].cpu()

    def text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _decode(
        self, batch: Batch, max_tokens: int, picker: _Picker, ends: _StopText, on_done: Callable[[int], None]
    ) -> list[list[int]]:
        """The answer's token ids of each row, without the end token. An answer also ends when the context is full."""
        rooms = [min(max_tokens, self.context - length) for length in batch.lengths.tolist()]
        answers: list[list[int]] = [[] for _ in batch.rows]
        live = list(range(len(batch.rows)))  # rows of the batch, as indices into `answers`
        is_done = [False] * len(live)
        logits, lengths = batch.logits, batch.lengths
        for step in range(max(rooms)):
            chosen = picker.pick(logits, step)
            newly = 0
            for place, (row, token) in enumerate(zip(live, chosen.tolist(), strict=True)):
                if is_done[place]:
                    continue
                if token not in self.end_ids:
                    answers[row].append(token)
                    is_stopped = ends.may_end(token) and ends.is_in(answers[row])
                    if len(answers[row]) < rooms[row] and not is_stopped:
                        continue
                is_done[place] = True
                newly += 1
            if newly:
                on_done(newly)
            if all(is_done):
                break
            if sum(is_done) * _DROP_SHARE >= len(live):
                left = [place for place, done in enumerate(is_done) if not done]
                kept = torch.tensor(left, device=self.device)
                batch.cache.keep(kept)
                picker.keep(kept)
                chosen, lengths = chosen[kept], lengths[kept]
                live, is_done = [live[place] for place in left], [False] * len(left)
            logits = self.forward(chosen[:, None], lengths[:, None], batch.cache)[:, -1]
            # A finished row stays for a while; its positions must not run out of the model's table.
            lengths = (lengths + 1).clamp(max=self.context - 1)
        return answers

    def check_lengths(self, prompts: Sequence[Sequence[int]]) -> None:
        """Raises UsageError when a prompt leaves no room for an answer."""
        longest = max(map(len, prompts), default=0)
        if longest >= self.context:
            raise UsageError(
                f"a prompt has {longest:,} tokens, the context of {self.model.name_or_path} is {self.context:,}",
                "shorten the task's questions, or choose a model with a longer context",
            )

    def _encode(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Iterator[Batch]:
        """Batches of prompts, encoded. Each shared beginning is encoded once per batch."""
        self.check_lengths(prompts)
        for groups in self._batches(prompts, max_tokens):
            prefixes = [self.prefix(prompts[group.rows[0]][: group.shared]) for group in groups]
            rows = [row for group in groups for row in group.rows]
            widest = max(len(prompts[row]) - group.shared for group in groups for row in group.rows)
            cache = KeyValues(prefixes, [len(group.rows) for group in groups], self.device)
            logits, start = [], 0
            for group, prefix in zip(groups, prefixes, strict=True):
                for members in _chunks(group, prompts, self.limits.tokens):
                    part, last = self._suffixes(members, prompts, prefix)
                    cache.take(part, slice(start, start + len(members)), widest)
                    start += len(members)
                    logits.append(last)
            lengths = torch.tensor([len(prompts[row]) for row in rows], device=self.device)
            yield Batch(rows, cache, torch.cat(logits), lengths)

    def _batches(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Iterator[list[Group]]:
        """Groups that are decoded together, within the limits; a group that is too large is split."""
        batch: list[Group] = []
        widest = count = 0
        for group in self._groups(prompts):
            part: list[int] = []
            for row in group.rows:
                own = len(prompts[row]) - group.shared
                if count and count + 1 > self._most_rows(max(widest, own) + max_tokens):
                    yield [*batch, *_part(group, part)]
                    batch, part, widest, count = [], [], 0, 0
                part.append(row)
                widest, count = max(widest, own), count + 1
            batch += _part(group, part)
        if batch:
            yield batch

    def _groups(self, prompts: Sequence[Sequence[int]]) -> list[Group]:
        return group_by_prefix(prompts)

    def _most_rows(self, tokens: int) -> int:
        return max(1, min(self.limits.rows, self.limits.cache_bytes // (tokens * self._bytes_per_token)))

    @property
    def _bytes_per_token(self) -> int:
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * config.num_hidden_layers * heads * size * self.model.dtype.itemsize

    def prefix(self, ids: Sequence[int]) -> Prefix:
        """Keys and values of a shared beginning."""
        if not ids:
            return Prefix()
        cache = KeyValues([Prefix()], [1], self.device)
        row = torch.tensor([ids], device=self.device)
        self.forward(row, torch.arange(len(ids), device=self.device)[None], cache)
        return cache.as_prefix()

    def _suffixes(
        self, members: Sequence[int], prompts: Sequence[Sequence[int]], prefix: Prefix
    ) -> tuple[KeyValues, Tensor]:
        """Encode what follows the prefix, padded on the left: own keys and values, and logits (rows, vocabulary)."""
        suffixes = [prompts[row][prefix.length :] for row in members]
        width = max(len(suffix) for suffix in suffixes)
        ids = torch.zeros(len(suffixes), width, dtype=torch.long)
        positions = torch.full((len(suffixes), width), -1)
        for place, suffix in enumerate(suffixes):
            ids[place, width - len(suffix) :] = torch.tensor(suffix)
            positions[place, width - len(suffix) :] = torch.arange(prefix.length, prefix.length + len(suffix))
        cache = KeyValues([prefix], [len(suffixes)], self.device)
        logits = self.forward(ids.to(self.device), positions.to(self.device), cache)
        return cache, logits[:, -1]

    def forward(
        self, ids: Tensor, positions: Tensor, cache: KeyValues, keep: int = 1, branches: Tensor | None = None
    ) -> Tensor:
        """Logits (B, keep, vocabulary) float32 after the last `keep` of (B, S) tokens.

        positions  (B, S), -1 for padding
        branches   as `KeyValues.begin` takes them
        """
        cache.begin(positions, branches)
        token = ACTIVE.set(cache)
        try:
            out = self.model(
                input_ids=ids,
                position_ids=positions.clamp(min=0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=keep,
            )
        finally:
            ACTIVE.reset(token)
        cache.finish()
        logits: Tensor = out.logits.to(self.device).float()
        return logits


class _Picker:
    """Chooses the next token of each row: the likeliest, or by temperature."""

    def __init__(
        self,
        rows: Sequence[int],
        steps: int,
        temperature: float,
        seed: int,
        device: torch.device,
        top_p: float = 1.0,
    ) -> None:
        self._temperature, self._top_p = temperature, top_p
        drawn = [_uniform(seed, row, steps if temperature > 0 else 0) for row in rows]
        self._drawn = torch.stack(drawn).to(device)

    def pick(self, logits: Tensor, step: int) -> Tensor:
        """(B,) token ids from (B, vocabulary) logits."""
        if self._temperature == 0:
            return logits.argmax(dim=1)
        # Inverse of the cumulative distribution: one number per row and step, so no row can shift another's.
        probs = nucleus(torch.softmax(logits / self._temperature, dim=1), self._top_p)
        cumulative = probs.cumsum(dim=1, dtype=torch.float64)
        target = self._drawn[:, step : step + 1] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)

    def keep(self, rows: Tensor) -> None:
        self._drawn = self._drawn[rows]


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """The fewest likeliest tokens that together reach `top_p`; the others become 0, and nothing is rescaled.

    Shapes   probs, returns  (B, V) float
    Source   Holtzman et al. 2020, arXiv:1904.09751v2, sec. 3.1
    """
    if top_p >= 1:
        return probs
    ranked, places = probs.sort(dim=1, descending=True, stable=True)
    is_beyond = ranked.cumsum(dim=1) - ranked >= top_p
    return torch.zeros_like(probs).scatter(1, places, ranked.masked_fill(is_beyond, 0))


def _uniform(seed: int, row: int, steps: int) -> Tensor:
    """(steps,) float64 numbers in [0, 1) that depend on nothing but the arguments."""
    digest = hashlib.sha256(f"{seed} {row}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    return torch.rand(steps, generator=generator, dtype=torch.float64)


class _StopText:
    """Finds a stop text without decoding at every step: only a token with the stop's last character can complete it."""

    def __init__(self, tokenizer: Any, stop: str) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._enders: set[int] = set()
        if stop:
            # Vocabularies write spaces, newlines and non-ASCII letters in ways of their own.
            is_plain = stop[-1].isascii() and stop[-1].isprintable() and stop[-1] != " "
            pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
            self._enders = {index for index, piece in enumerate(pieces) if not is_plain or stop[-1] in (piece or "")}

    def may_end(self, token: int) -> bool:
        return token in self._enders

    def is_in(self, ids: list[int]) -> bool:
        return self._stop in self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def cut(self, text: str) -> str:
        """The text up to and with the stop."""
        before, found, _ = text.partition(self._stop) if self._stop else (text, "", "")
        return before + found


def _part(group: Group, rows: list[int]) -> list[Group]:
    return [Group(group.shared, tuple(rows))] if rows else []


def _chunks(group: Group, prompts: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """The group's rows, in order, in parts of like length with about `tokens` tokens after the prefix."""
    part: list[int] = []
    for row in group.rows:
        own = len(prompts[row]) - group.shared
        shortest = len(prompts[part[0]]) - group.shared if part else own
        if part and (own * (len(part) + 1) > tokens or own > 2 * shortest + 8):
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: those of the generation config, and the tokenizer's end token."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return frozenset(index for index in [*ids, tokenizer.eos_token_id] if index is not None)


def _use_shared_prefixes(decoder: Decoder, path: Path) -> None:
    """Switch to our attention, and make sure on random tokens that the model then computes what it computed before.

    A model may have parts that our attention does not know (attention sinks, recurrent state, windows of its own kind).
    Raises   UsageError for such a model
    """
    model = decoder.model
    count = min(model.config.get_text_config().vocab_size, 1000)
    ids = torch.randint(count, (2, 24), generator=torch.Generator().manual_seed(0))
    ids[1, :12] = ids[0, :12]
    with torch.inference_mode():
        expected = model(input_ids=ids.to(decoder.device)).logits[:, -1].float()
        try:
            model.set_attn_implementation(ATTENTION)
            prefix = decoder.prefix(ids[0, :12].tolist())
            _, found = decoder._suffixes([0, 1], ids.tolist(), prefix)
        except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
            raise _unsupported(path, model, str(error)) from error
    if len(prefix.keys) != model.config.get_text_config().num_hidden_layers:
        raise _unsupported(path, model, "not all of its layers keep keys and values")
    # The kernels of GPUs, half types and 4 bits round otherwise for other numbers of rows.
    is_rounded = decoder.device.type == "cuda" or model.dtype != torch.float32 or getattr(model, "is_quantized", False)
    tolerance = 0.05 if is_rounded else 1e-3
    scale = float(expected.abs().max().clamp(min=1e-6))
    if float((found - expected).abs().max()) > tolerance * scale:
        raise _unsupported(path, model, "its logits differ")


def _unsupported(path: Path, model: Any, why: str) -> UsageError:
    return UsageError(
        f"engine `hf` cannot decode {path}: {type(model).__name__} does not work with shared prefixes ({why})",
        "choose a model of a usual attention architecture, e.g. Llama, Qwen2, Gemma; or another engine",
    )
