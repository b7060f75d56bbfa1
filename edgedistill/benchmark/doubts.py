"""What speaks against figures: a CPU that was slowed down while they were taken, and others that disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgedistill.benchmark import watch
from edgedistill.benchmark.parts import Asked, Look, Part
from edgedistill.benchmark.watch import State
from edgedistill.latency import BUSY_CORES, SPREAD
from edgedistill.statistics import percentile, spread


@dataclass(frozen=True)
class Throttling:
    """Requests of a phase before and since something slowed the CPU down. A mean over both is the speed of no device.

    The few between the last look without it and the first look with it are of neither, where others are.
    """

    before: Sequence[Asked]
    since: Sequence[Asked]
    because: str
    """`firmware: throttled after 60 s of load`; empty when nothing did."""

    @property
    def larger(self) -> Sequence[Asked]:
        return self.before if len(self.before) >= len(self.since) else self.since

    @property
    def larger_is(self) -> str | None:
        """`the 61 requests before it throttled`; None when nothing did."""
        when = "before" if self.larger is self.before else "since"
        return f"the {len(self.larger)} requests {when} it throttled" if self.because else None


def throttling(parts: Sequence[Part], phase: str) -> Throttling:
    """Of `measured` or `sustained`. What began in the phase before it goes on; what begins later does not count."""
    found = [_in_part(part, phase) for part in parts]
    before = [one for part in found for one in part.before]
    since = [one for part in found for one in part.since]
    return Throttling(before, since, "; ".join(dict.fromkeys(part.because for part in found if part.because)))


def _in_part(part: Part, phase: str) -> Throttling:
    looks = [(place, row) for place, row in enumerate(part.rows) if isinstance(row, Look)]
    first = looks[0][1].state if looks else None
    loaded = [(place, row) for place, row in looks if row.phase in ("measured", phase)]
    reasons = [watch.throttled_because(first, look.state) for _, look in loaded] if first else []
    begun = next((number for number, found in enumerate(reasons) if found), None)
    if begun is None:
        return Throttling(part.asked(phase), [], "")
    clean, seen = loaded[begun - 1][0] if begun else -1, loaded[begun][0]
    placed = [(place, row) for place, row in enumerate(part.rows) if isinstance(row, Asked) and row.phase == phase]
    before = [row for place, row in placed if place < clean]
    since = [row for place, row in placed if place > seen] or [row for place, row in placed if place > clean]
    every = ", ".join(dict.fromkeys(reason for found in reasons for reason in found))
    return Throttling(before, since, f"{every} after {loaded[begun][1].load_s:,.0f} s of load")


@dataclass(frozen=True)
class Others:
    """What else went on, in cores on average, in the worst part; None where nobody looked for long enough."""

    before: float | None
    """Others' processes in the second before the runtime was started."""
    during: float | None
    """The same during the measured requests."""
    stolen: float | None
    """By other guests of a virtual machine's host."""


def others(parts: Sequence[Part]) -> Others:
    """Of the parts with measured requests."""
    counted = [part for part in parts if part.asked("measured")]
    return Others(
        before=_worst(max, (watch.others_busy(part.states("before")) for part in counted)),
        during=_worst(_median, (watch.others_busy(part.states("measured")) for part in counted)),
        stolen=max(
            (cores for part in counted if (cores := watch.stolen(part.states("measured"))) is not None), default=None
        ),
    )


def _worst(of_one: Callable[[Sequence[float]], float], parts: Iterable[Sequence[float]]) -> float | None:
    return max((of_one(values) for values in parts if values), default=None)


def _median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def noise(found: Others, during: Sequence[State], requests: Sequence[Asked]) -> list[str]:
    """Why figures are worse than those of a quiet device; empty when it was quiet."""
    said = []
    for when, cores in (("before", found.before), ("during", found.during)):
        if cores is not None and cores > BUSY_CORES:
            said.append(f"other processes kept {cores:.1f} cores busy {when} the requests")
    if found.stolen is not None and found.stolen > BUSY_CORES / 5:
        said.append(f"the host took {found.stolen:.2f} cores for other guests")
    if change := watch.clock_change(during):
        said.append(change)
    if (share := spread([one.decode_tok_s for one in requests])) > SPREAD:
        said.append(f"decode speeds spread over {share:.0%} of the median")
    return said
