"""Which candidates are worth a look: those that no other beats in accuracy, size and the time of an answer together."""

from __future__ import annotations

from collections.abc import Sequence

from edgedistill.report.schema import CandidateLine


def front(candidates: Sequence[CandidateLine]) -> list[CandidateLine]:
    """Of those that were evaluated and pass parity, the ones that none other dominates, in their order."""
    known = [one for one in candidates if one.accuracy and one.parity and one.parity.passed]
    return [one for one in known if not any(_dominates(other, one) for other in known)]


def _dominates(one: CandidateLine, other: CandidateLine) -> bool:
    """At least as good in everything, and better in something."""
    mine, theirs = _figures(one), _figures(other)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def _figures(one: CandidateLine) -> tuple[float, float, float]:
    """The less the better. A time that is not known counts as endless."""
    assert one.accuracy
    answer_ms = one.latency.answer_ms if one.latency else None
    return -one.accuracy.value, float(one.bytes), float("inf") if answer_ms is None else answer_ms
