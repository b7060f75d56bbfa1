"""Requests one after the other, and looks at the device under this load, each written down as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from edgedistill.benchmark import watch
from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.served import Served, Times
from edgedistill.benchmark.watch import State, Watch
from edgedistill.errors import DeviceError
from edgedistill.log import progress

LOOK_EVERY_S = 5.0
"""Between two looks at the device's state: seldom enough that looking is no load of its own."""
UNNOTICED = 0.05
"""Share of a request for which one of the cores may be looked with."""


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
    is_quick: bool = False


FULL = Extent("full", warm_up=2, requests=100, seconds=60.0, least=10, load_s=300.0)
QUICK = Extent(
    "quick: fewer than 100 requests, no sustained phase",
    warm_up=2,
    requests=20,
    seconds=10.0,
    least=5,
    load_s=0.0,
    is_quick=True,
)


class Load:
    """Keeps a served model busy. What a cut run has measured counts.

    busiest   cores that others may keep busy while the requests that count are made; None: as many as they like
    """

    def __init__(
        self,
        server: Served,
        watching: Watch,
        kept: Journal,
        prompts: Sequence[Sequence[int]],
        new_tokens: int,
        busiest: float | None,
    ) -> None:
        self._server, self._watching, self._kept = server, watching, kept
        self._prompts, self._new_tokens, self._busiest = prompts, new_tokens, busiest
        self._begun: float | None = None
        self._looked: float | None = None
        self._quiet: State | None = None
        """The last look of those that count, and how many rows were kept by then."""
        self._quiet_rows = 0

    def warm_up(self, count: int) -> None:
        for number in range(count):
            self._ask(number)

    def measure(self, extent: Extent) -> None:
        """Until there are enough requests, those of a cut run included.

        Raises  DeviceError when others begin to use the device, or its governor is changed; what was measured since the
                look before that is forgotten
        """
        rows = self._kept.measured
        took, done = sum(row["prompt_ms"] + row["decode_ms"] for row in rows) / 1000, len(rows)
        with progress("measure, requests", extent.requests, done) as advance:
            while done < extent.least or (done < extent.requests and took < extent.seconds):
                took += self._keep("measured", done)
                done += 1
                advance(1)
        if done > len(rows):
            self._look("measured", done)

    def sustain(self, extent: Extent) -> None:
        """Go on until the device was kept busy for long enough, in one piece: a cut one begins anew."""
        looks = [row for row in self._kept.of("state") if row["phase"] == "sustained"]
        if not extent.load_s or any(row["load_s"] >= extent.load_s for row in looks):
            return
        self._kept.drop(phase="sustained")
        number = done = 0
        with progress("keep busy, seconds", round(extent.load_s)) as advance:
            while self.load_s < extent.load_s:
                self._keep("sustained", number)
                number += 1
                advance(int(self.load_s) - done)
                done = int(self.load_s)
        self._look("sustained", number)

    @property
    def load_s(self) -> float:
        """Since the first request of this run that counts."""
        return time.monotonic() - self._begun if self._begun is not None else 0.0

    def _ask(self, number: int) -> Times:
        return self._server.ask(self._prompts[number % len(self._prompts)], self._new_tokens)

    def _keep(self, phase: str, number: int) -> float:
        """One request that counts; seconds that it took by the runtime's own clock."""
        self._begun = self._begun if self._begun is not None else time.monotonic()
        is_due = self._looked is None or time.monotonic() - self._looked >= LOOK_EVERY_S
        times = (self._look(phase, number) if is_due else None) or self._ask(number)
        self._kept.add("request", phase=phase, load_s=round(self.load_s, 3), **asdict(times))
        return (times.prompt_ms + times.decode_ms) / 1000

    def _look(self, phase: str, number: int) -> Times | None:
        """While the device works: the clocks of an idle one say nothing. The request meanwhile, where looking was too
        short to matter; else None, and it does not count.
        """
        with ThreadPoolExecutor(1) as beside:
            looking = beside.submit(self._timed_look)
            times = self._ask(number)
            while not looking.done():
                self._ask(number)
        state, took_s = looking.result()
        self._kept.add("state", phase=phase, load_s=round(self.load_s, 3), **asdict(state))
        self._looked = time.monotonic()
        if phase == "measured" and self._busiest is not None:
            self._expect_quiet(state, self._busiest)
        return times if 1000 * took_s <= UNNOTICED * (times.prompt_ms + times.decode_ms) else None

    def _expect_quiet(self, now: State, busiest: float) -> None:
        looks = [self._quiet, now] if self._quiet else []
        busy = max(watch.others_busy(looks), default=0.0)
        said = f"other processes began to keep {busy:.1f} of its cores busy" if busy > busiest else ""
        if self._quiet and now.governor != self._quiet.governor:
            said = f"its governor was changed from {self._quiet.governor} to {now.governor}"
        if said:
            self._kept.keep_first(self._quiet_rows)
            raise DeviceError(
                f"{said} while the device was measured",
                "see to it that nothing else happens there, or add --anyway: the run is then marked",
            )
        self._quiet, self._quiet_rows = now, len(self._kept.rows)

    def _timed_look(self) -> tuple[State, float]:
        begun = time.monotonic()
        return self._watching.look(self._server.pid), time.monotonic() - begun
