"""How likely given answers are, and what would have been likelier, without generating.

One forward pass goes over many prompts with all their answers.

A prompt that comes with several answers, e.g. the options of a question, is one row that forks: the answers follow one
another in the row, and the attention hides them from each other.

Shapes   B rows, S tokens of a row after the shared prefix, N scored tokens, V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from edgedistill.engine import Likeliest
from edgedistill.ml.decode import Decoder
from edgedistill.ml.forks import Fork, Ids, forks
from edgedistill.ml.prefixes import group_by_prefix
from edgedistill.ml.shared_prefix import KeyValues, Prefix

_LOGITS_LIMIT = 1 << 26
"""Logits that may be held at once: 256 MiB as float32."""


def answer_log_probs(
    decoder: Decoder, prompts: Sequence[Ids], answers: Sequence[Ids], on_done: Callable[[int], None]
) -> list[list[float]]:
    """Natural-log probability of each token of `answers[i]` after `prompts[i]`. Raises UsageError for one too long."""
    found: list[list[float]] = [[] for _ in answers]
    for part, logits, targets in _answered(decoder, prompts, answers):
        values = iter(logits.log_softmax(dim=1)[torch.arange(len(targets)), targets].tolist())
        for fork in part:
            for number, answer in zip(fork.numbers, fork.answers, strict=True):
                found[number] = [next(values) for _ in answer]
        on_done(sum(len(fork.numbers) for fork in part))
    return found


def likeliest(
    decoder: Decoder,
    prompts: Sequence[Ids],
    answers: Sequence[Ids],
    count: int,
    vocabulary: int | None,
    on_done: Callable[[int], None],
) -> list[Likeliest]:
    """What is likeliest at each token of `answers[i]` after `prompts[i]`, of the ids below `vocabulary`.

    Raises  UsageError for one too long
    """
    found: dict[int, Likeliest] = {}
    for part, logits, targets in _answered(decoder, prompts, answers):
        log_probs = logits[:, :vocabulary].log_softmax(dim=1)
        own = log_probs[torch.arange(len(targets)), targets].cpu().numpy()
        ids, values = (part.cpu().numpy() for part in _top(log_probs, count))
        begin = 0
        for fork in part:
            for number, answer in zip(fork.numbers, fork.answers, strict=True):
                end = begin + len(answer)
                found[number] = Likeliest(ids[begin:end], values[begin:end], own[begin:end])
                begin = end
        on_done(sum(len(fork.numbers) for fork in part))
    return [found[number] for number in range(len(answers))]


def _top(log_probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Token ids int32 and their values, (N, count) each, likeliest first; all of them in their own order."""
    if count >= log_probs.shape[1]:
        return torch.arange(log_probs.shape[1], dtype=torch.int32).expand(log_probs.shape), log_probs
    top = log_probs.topk(count, dim=1)
    return top.indices.int(), top.values


def _answered(
    decoder: Decoder, prompts: Sequence[Ids], answers: Sequence[Ids]
) -> Iterator[tuple[list[Fork], Tensor, list[int]]]:
    """Forks that went through the model together, the logits (N, V) at their answers' tokens, and these tokens."""
    decoder.check_lengths([[*prompt, *answer[1:]] for prompt, answer in zip(prompts, answers, strict=True)])
    asked = forks(prompts, answers)
    with torch.inference_mode():
        for group in group_by_prefix([fork.prompt for fork in asked]):
            prefix = decoder.prefix(asked[group.rows[0]].prompt[: group.shared])
            for part in _parts([asked[row] for row in group.rows], prefix.length, decoder):
                yield part, *_logits(decoder, part, prefix)


def _parts(those: list[Fork], shared: int, decoder: Decoder) -> Iterator[list[Fork]]:
    """Forks that go through the model together: of like length, within the limits on tokens and logits."""
    vocabulary = decoder.model.config.get_text_config().vocab_size
    part: list[Fork] = []
    widest = tail = 0
    for fork in sorted(those, key=lambda fork: fork.size):
        width = fork.size - shared
        count = len(part) + 1
        tail = max(tail, fork.tail)
        is_full = count * width > decoder.limits.tokens or count * tail * vocabulary > _LOGITS_LIMIT
        if part and (is_full or width > 2 * widest + 8):
            yield part
            part, tail = [], fork.tail
        part.append(fork)
        widest = width if len(part) == 1 else widest
    if part:
        yield part


def _logits(decoder: Decoder, part: list[Fork], prefix: Prefix) -> tuple[Tensor, list[int]]:
    """One forward pass: the logits (N, V) at the answers' tokens, answer by answer, and these tokens."""
    width = max(fork.size for fork in part) - prefix.length
    keep = max(fork.tail for fork in part)
    ids = torch.zeros(len(part), width, dtype=torch.long)
    positions, branches = torch.full_like(ids, -1), torch.zeros_like(ids)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, fork in enumerate(part):
        _lay_out(fork, prefix.length, ids[row], positions[row], branches[row])
        for place, target in fork.asked():
            rows.append(row)
            columns.append(keep - fork.tail + place)
            targets.append(target)
    cache = KeyValues([prefix], [len(part)], decoder.device)
    is_forked = any(len(fork.answers) > 1 for fork in part)
    device = decoder.device
    logits = decoder.forward(
        ids.to(device), positions.to(device), cache, keep, branches.to(device) if is_forked else None
    )
    return logits[rows, columns], targets


def _lay_out(fork: Fork, shared: int, ids: Tensor, positions: Tensor, branches: Tensor) -> None:
    """Write one row, (S,) each, from the right: the prompt's own tokens, then the answers, each a branch."""
    begin = len(ids) - (fork.size - shared)
    end = begin + len(fork.trunk) - shared
    ids[begin:end] = torch.tensor(fork.trunk[shared:])
    positions[begin:end] = torch.arange(shared, len(fork.trunk))
    for number, branch in enumerate(fork.branches, start=1):
        begin, end = end, end + len(branch)
        ids[begin:end] = torch.tensor(branch, dtype=torch.long)
        positions[begin:end] = torch.arange(len(fork.trunk), len(fork.trunk) + len(branch))
        branches[begin:end] = number
