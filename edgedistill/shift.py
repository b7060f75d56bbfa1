"""How far a candidate's next-token distributions moved from the float student's, on rows that nobody trained on.

The rows are test items with the float student's own greedy answers: at every position of an answer both models see the
same tokens, so a difference is the candidate's and not that of an answer that went another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgedistill.engine import Messages

KEPT = 4096
"""Likeliest tokens of each position that are kept; all others together are one more bin. Smaller vocabularies are
whole, and of a larger one the others seldom have a thousandth together."""
_LEAST = 1e-30
"""Smallest share that is counted."""


class Stepping(Protocol):
    """What is asked of a runtime, and of the float student."""

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""


@dataclass(frozen=True)
class HeldOut:
    """The float student's distributions.

    Shapes   P positions of all rows, one after the other; K kept tokens
    """

    rows: list[tuple[Messages, list[int]]]
    """Conversations, each with the ids of its answer."""
    ids: Any
    """(P, K) int32, the likeliest first"""
    log_probs: Any
    """(P, K) float32"""

    @property
    def positions(self) -> int:
        return len(self.ids)


def held_out(student: Stepping, conversations: Sequence[Messages], *, max_tokens: int, positions: int) -> HeldOut:
    """Rows until there are `positions` of them, at least one row; the first conversations are taken."""
    rows, count = list[tuple[Messages, list[int]]](), 0
    for start in range(0, len(conversations), 32):
        part = conversations[start : start + 32]
        for messages, answer in zip(part, student.answer_ids(part, max_tokens=max_tokens), strict=True):
            count += len(answer) + 1
            if rows and count > positions:
                return along(student, rows)
            rows.append((messages, list(answer)))
    return along(student, rows)


def along(student: Stepping, rows: Sequence[tuple[Messages, list[int]]]) -> HeldOut:
    """The float student's distributions at every position of given answers, and of what follows them."""
    import numpy as np

    ids, log_probs = list[Any](), list[Any]()
    for messages, answer in rows:
        steps = student.step_log_probs(messages, answer)
        order = likeliest(steps)
        ids.append(order.astype(np.int32))
        log_probs.append(np.take_along_axis(steps, order, axis=1))
    return HeldOut(list(rows), np.concatenate(ids), np.concatenate(log_probs))


def likeliest(log_probs: Any) -> Any:
    """(P, min(K, V)) ids, the likeliest first."""
    import numpy as np

    kept = min(KEPT, log_probs.shape[1])
    order = np.argpartition(-log_probs, kept - 1, axis=1)[:, :kept]
    sizes = np.take_along_axis(log_probs, order, axis=1)
    return np.take_along_axis(order, np.argsort(-sizes, axis=1, kind="stable"), axis=1)


def line(before: HeldOut, runtime: Stepping) -> dict[str, Any]:
    """`kl_mean`, `kl_p99`, `same_top1` and `kl_positions` of the report's schema."""
    import numpy as np

    found, same = zip(*by_row(before, runtime), strict=True)
    kl = np.concatenate(found)
    figures = {"kl_mean": kl.mean(), "kl_p99": np.quantile(kl, 0.99), "same_top1": np.concatenate(same).mean()}
    return {**{name: round(float(value), 6) for name, value in figures.items()}, "kl_positions": len(kl)}


def by_row(before: HeldOut, runtime: Stepping) -> Iterator[tuple[Any, Any]]:
    """Of each row (positions,) KL in nats, and (positions,) whether the likeliest token is the same."""
    begin = 0
    for messages, answer in before.rows:
        after = runtime.step_log_probs(messages, answer)
        part = slice(begin, begin + len(after))
        kl = divergences(before.ids[part], before.log_probs[part], after)
        yield kl, before.ids[part, 0] == after.argmax(axis=1)
        begin += len(after)


def divergences(ids: Any, log_probs: Any, after: Any) -> Any:
    """KL from the kept distributions to others, (P,) in nats; the tokens that are not kept are one bin on both sides,
    so it is never larger than the KL over the whole vocabulary.

    ids, log_probs  (P, K)
    after           (P, V) float32; an id that a runtime has no row for counts as impossible there
    """
    import numpy as np

    known = ids < after.shape[1]  # a runtime may leave out rows that only pad the vocabulary
    given = np.take_along_axis(after, np.where(known, ids, 0), axis=1).astype(np.float64)
    given = np.where(known & (given > np.log(_LEAST)), given, np.log(_LEAST))  # NaN is no share either
    kept = log_probs.astype(np.float64)
    total = (np.exp(kept) * (kept - given)).sum(axis=1)
    rest, other = (np.clip(1 - np.exp(rows).sum(axis=1), _LEAST, 1) for rows in (kept, given))
    rest_part = np.where(rest > 1e-6, rest * np.log(rest / other), 0.0)  # below, it is rounding
    return np.maximum(0.0, total + rest_part)
