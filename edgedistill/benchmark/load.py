"""Requests one after the other, and looks at the device between them, each written down as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.served import Served
from edgedistill.benchmark.watch import Watch
from edgedistill.log import progress

LOOK_EVERY_S = 2.0
"""Between two looks at the device's state; never during a request."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    name: str
    warm_up: int
    """Requests that are thrown away: the first ones pay for reading the file, 3 to 5 times slower on SD cards."""
    requests: int
    seconds: float
    """Requests are made until there are so many, or it took so long: at least 60 s or 100 queries (MLPerf)."""
    least: int
    """Requests that a slow device makes too."""
    load_s: float
    """From the first measured request to the end of the sustained phase; 0 for none."""


FULL = Extent("full", warm_up=5, requests=100, seconds=60.0, least=10, load_s=300.0)
QUICK = Extent("quick: fewer than 100 requests, no sustained phase", 2, requests=20, seconds=10.0, least=5, load_s=0.0)


class Load:
    """Keeps a served model busy. What a cut run has measured counts."""

    def __init__(
        self, server: Served, watching: Watch, kept: Journal, prompts: Sequence[Sequence[int]], new_tokens: int
    ) -> None:
        self._server, self._watching, self._kept = server, watching, kept
        self._prompts, self._new_tokens = prompts, new_tokens
        self._begun: float | None = None
        self._looked: float | None = None

    def warm_up(self, count: int) -> None:
        for number in range(count):
            self._server.ask(self._prompts[number % len(self._prompts)], self._new_tokens)

    def measure(self, extent: Extent) -> None:
        """Until there are enough requests, those of a cut run included."""
        rows = [row for row in self._kept.of("request") if row["phase"] == "measured"]
        took, done = sum(row["prompt_ms"] + row["decode_ms"] for row in rows) / 1000, len(rows)
        with progress("measure, requests", extent.requests, done) as advance:
            while done < extent.least or (done < extent.requests and took < extent.seconds):
                took += self._ask("measured", done)
                done += 1
                advance(1)
        self._look("measured", now=True)

    def sustain(self, extent: Extent) -> None:
        """Go on until the device was kept busy for long enough, in one piece: a cut one begins anew."""
        self._kept.drop("request", phase="sustained")
        if not extent.load_s:
            return
        number = done = 0
        with progress("keep busy, seconds", round(extent.load_s)) as advance:
            while self.load_s < extent.load_s:
                self._ask("sustained", number)
                number += 1
                advance(int(self.load_s) - done)
                done = int(self.load_s)
        self._look("sustained", now=True)

    @property
    def load_s(self) -> float:
        """Since the first request of this run that counts."""
        return time.monotonic() - self._begun if self._begun is not None else 0.0

    def _ask(self, phase: str, number: int) -> float:
        """One request; seconds that it took by the runtime's own clock."""
        self._begun = self._begun if self._begun is not None else time.monotonic()
        self._look(phase)
        times = self._server.ask(self._prompts[number % len(self._prompts)], self._new_tokens)
        self._kept.add("request", phase=phase, load_s=round(self.load_s, 3), **asdict(times))
        return (times.prompt_ms + times.decode_ms) / 1000

    def _look(self, phase: str, *, now: bool = False) -> None:
        if now or self._looked is None or time.monotonic() - self._looked >= LOOK_EVERY_S:
            state = self._watching.look(self._server.pid)
            self._kept.add("state", phase=phase, load_s=round(self.load_s, 3), **asdict(state))
            self._looked = time.monotonic()
