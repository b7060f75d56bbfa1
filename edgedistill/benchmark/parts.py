"""A journal's rows, read again: what was asked and seen, in the parts that a run fell into when it was cut.

Looks at the device can only be compared within a part: between two of them lie hours, or a device that cooled down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.served import Times
from edgedistill.benchmark.watch import State


@dataclass(frozen=True)
class Asked:
    """A request with when it was made."""

    phase: str
    """`measured` or `sustained`"""
    load_s: float
    """Since the device was first kept busy in this part, at the request's end."""
    times: Times

    @property
    def decode_tok_s(self) -> float:
        return 1000 / self.times.token_ms


@dataclass(frozen=True)
class Look:
    """The device's state with when it was seen."""

    phase: str
    """`before` the runtime was started, `measured` or `sustained`"""
    load_s: float
    state: State


@dataclass(frozen=True)
class Part:
    """One process of the runtime, from its start to its end or a cut."""

    rows: Sequence[Asked | Look]
    """As they came."""

    def asked(self, phase: str) -> list[Asked]:
        return [row for row in self.rows if isinstance(row, Asked) and row.phase == phase]

    def states(self, *phases: str) -> list[State]:
        return [row.state for row in self.rows if isinstance(row, Look) and row.phase in phases]


def of(journal: Journal) -> list[Part]:
    """The parts that measured something."""
    found: list[list[Asked | Look]] = [[]]
    for row in journal.rows:
        if row["kind"] == "again":
            found.append([])
        found[-1] += _read(row)
    return [Part(rows) for rows in found if any(isinstance(row, Asked) for row in rows)]


def _read(row: dict[str, Any]) -> Iterator[Asked | Look]:
    if row["kind"] == "request":
        times = Times(**{name: row[name] for name in Times.__dataclass_fields__})
        yield Asked(row["phase"], row["load_s"], times)
    elif row["kind"] == "state":
        known = {name: row[name] for name in State.__dataclass_fields__}
        yield Look(row["phase"], row["load_s"], State(**{**known, "mhz": tuple(row["mhz"])}))
