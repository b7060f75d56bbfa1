"""How likely given answers are, in llama.cpp: prompts with all their answers, many in one call, nothing generated.

One cache for all sequences: the tokens of a shared beginning, and those of a prompt that comes with several answers,
belong to all sequences that go on from them, so they are computed and held once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgedistill.ml.forks import Fork, Ids, forks
from edgedistill.ml.llama_runtime import Sequences, Tokens, Weights
from edgedistill.ml.prefixes import group_by_prefix

_TOKENS = 512
"""Prompt and answer tokens that are decoded together. Each looks through the cells of all, so more is not faster."""
_SEQUENCES = 64
"""Answers that are scored together. A prompt with more is asked again for the others."""
_LOGITS = 1 << 25
"""Logits that are held at once: 128 MiB."""


def answer_log_probs(
    weights: Weights, threads: int, prompts: Sequence[Ids], answers: Sequence[Ids], on_done: Callable[[int], None]
) -> list[list[float]]:
    """Natural-log probability of each token of `answers[i]` after `prompts[i]`."""
    found: list[list[float]] = [[] for _ in answers]
    asked = [part for fork in forks(prompts, answers) for part in _narrow(fork)]
    if not asked:
        return found
    outputs = max(min(_TOKENS, _LOGITS // weights.size), *(fork.tail for fork in asked))
    groups = group_by_prefix([fork.prompt for fork in asked])
    longest = max(fork.size for fork in asked)
    shared = max(group.shared for group in groups)
    sequences = Sequences(weights, _SEQUENCES, shared + max(longest, _TOKENS), threads, outputs, is_unified=True)
    try:
        for group in groups:
            sequences.start(asked[group.rows[0]].prompt[: group.shared])
            for part in _parts([asked[row] for row in group.rows], group.shared, outputs):
                _score(sequences, part, group.shared, found)
                sequences.rewind(group.shared)
                on_done(sum(len(fork.numbers) for fork in part))
    finally:
        sequences.close()
    return found


def _narrow(fork: Fork) -> Iterator[Fork]:
    for begin in range(0, len(fork.answers), _SEQUENCES):
        cut = slice(begin, begin + _SEQUENCES)
        yield Fork(fork.prompt, fork.answers[cut], fork.numbers[cut])


def _parts(those: list[Fork], shared: int, outputs: int) -> Iterator[list[Fork]]:
    """Forks that are decoded together, within the limits on tokens, sequences and logits."""
    part: list[Fork] = []
    tokens = sequences = tails = 0
    for fork in those:
        size = fork.size - shared
        over = (tokens + size > _TOKENS, sequences + len(fork.answers) > _SEQUENCES, tails + fork.tail > outputs)
        if part and any(over):
            yield part
            part, tokens, sequences, tails = [], 0, 0, 0
        part.append(fork)
        tokens, sequences, tails = tokens + size, sequences + len(fork.answers), tails + fork.tail
    if part:
        yield part


def _score(sequences: Sequences, part: list[Fork], shared: int, found: list[list[float]]) -> None:
    """One call of llama.cpp; the log probabilities go to their places in `found`."""
    pieces: list[tuple[Ids, int, int, int, int]] = []  # ids, first position, first sequence, sequences, logits wanted
    first = 0
    for fork in part:
        pieces.append((fork.trunk[shared:], shared, first, len(fork.answers), fork.common + 1))
        for place, branch in enumerate(fork.branches):
            pieces.append((branch, len(fork.trunk), first + place, 1, len(branch)))
        first += len(fork.answers)
    logits = sequences.decode(_tokens(pieces))  # (N, V)
    rows: list[int] = []
    targets: list[int] = []
    start = 0
    for fork in part:
        for place, target in fork.asked():
            rows.append(start + place)
            targets.append(target)
        start += fork.tail
    chosen = logits[rows, targets] - _log_sums(logits)[rows]
    values = iter(chosen.tolist())
    for fork in part:
        for number, answer in zip(fork.numbers, fork.answers, strict=True):
            found[number] = [next(values) for _ in answer]


def _tokens(pieces: Sequence[tuple[Ids, int, int, int, int]]) -> Tokens:
    sizes = [len(piece[0]) for piece in pieces]
    ids = np.concatenate([np.asarray(piece[0], np.int32) for piece in pieces])
    positions = np.concatenate(
        [np.arange(piece[1], piece[1] + size) for piece, size in zip(pieces, sizes, strict=True)]
    )
    sequences = np.repeat([piece[2] for piece in pieces], sizes)
    spans = np.repeat([piece[3] for piece in pieces], sizes)
    from_end = np.concatenate([np.arange(size, 0, -1) for size in sizes])
    is_wanted = from_end <= np.repeat([piece[4] for piece in pieces], sizes)
    return Tokens(ids, positions, sequences, spans, is_wanted)


def _log_sums(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials of each row, without overflow."""
    most = logits.max(axis=1)
    sums: np.ndarray = most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
    return sums
