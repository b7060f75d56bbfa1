"""A benchmark from beginning to end. Parity on the device comes before speed: a wrong answer has no speed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgedistill import golden, transport, versions
from edgedistill.benchmark import figures, journal, limits, llama, parts, setup, watch
from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.llama import Pushed
from edgedistill.benchmark.load import Extent, Load
from edgedistill.benchmark.served import Served
from edgedistill.benchmark.setup import Setup
from edgedistill.benchmark.watch import State, Watch
from edgedistill.bundle_manifest import Manifest, open_bundle
from edgedistill.errors import DeviceError, EdgeDistillError, IntegrityError
from edgedistill.files import read_rows
from edgedistill.golden import GoldenCase
from edgedistill.latency import BUSY_CORES
from edgedistill.log import say
from edgedistill.parity import Parity

QUIET_S, QUIET_WAIT_S = 1.0, 20.0
"""Between the two looks that show others' load, and the most that is waited for it to end."""
PUSH_NOTICED_S = 2.0
"""A push that takes longer keeps the device busy, and is waited for to settle."""
BUSY_SHARE = 0.25
"""Of all cores: when others keep more of them busy, nothing is measured."""


@dataclass(frozen=True)
class Found:
    """What a benchmark leaves, in the report's shapes."""

    parity: dict[str, Any]
    latency: dict[str, Any]
    memory_mib: dict[str, Any] | None
    raw: Path
    """Where the journal lies once it is finished."""

    def finish(self) -> None:
        """To be called when bundle and report hold it: until then the next run goes on from the same rows."""
        journal.finish(self.raw)


def benchmark(
    folder: Path,
    address: str,
    extent: Extent,
    *,
    keep: bool = False,
    anyway: bool = False,
    new_tokens: int | None = None,
) -> Found:
    """Check, measure, and tell. What was measured before a fault is kept, and the next call goes on with it.

    anyway      measure a device that others keep busy; the run is marked
    new_tokens  of each request. None: an answer of the task's usual length
    Raises      IntegrityError when the bundle is damaged or the device does not reproduce the golden cases; DeviceError
                when the device cannot run it, is busy, or fails
    """
    manifest = open_bundle(folder)
    setup.check_address(manifest, address)
    with transport.open_device(address, keep=keep) as device:
        made = setup.of(folder, manifest, device, new_tokens)
        settings = {**made.conditions, "extent": extent.name, "warm_up": extent.warm_up}
        facts = made.facts
        same = {**settings, "machine": facts.machine, "cpu": facts.cpu, "governor": facts.governor}
        raw = journal.place(folder, address, is_quick=extent.is_quick)
        kept = Journal(raw, {**same, "edgedistill": versions.of_package("edgedistill")})
        if known := kept.told():
            say(f"going on with {known} of a run that was cut")
        with _told_what_is_kept(kept):
            parity = _measure(made, extent, kept, anyway)
    return Found(
        parity.line(),
        figures.latency_line(kept, facts, device.evidence, settings),
        figures.memory_line(kept, device.evidence),
        raw,
    )


def _measure(made: Setup, extent: Extent, kept: Journal, anyway: bool) -> Parity:
    """The line itself."""
    watching, cores = Watch(made.device), made.facts.cores or 1
    looks = _quiet(watching, cores, anyway)  # a busy device is refused before gigabytes are sent to it
    begun = time.monotonic()
    pushed = made.push()
    if time.monotonic() - begun > PUSH_NOTICED_S:
        looks = _quiet(watching, cores, anyway)
    for look in looks:
        kept.add("state", phase="before", load_s=0.0, **asdict(look))
    cases = golden.from_rows(list(read_rows(made.folder / "golden.jsonl")))
    with made.serving(pushed, "golden-cases") as server:
        parity = _replay(server, cases, made.manifest, kept)
    with made.serving(pushed, "requests") as server:  # a fresh process: what the golden cases took is not in its peak
        kept.add("parity", runtime=server.name, memory=server.memory, **parity.line())
        busiest = None if anyway else BUSY_SHARE * cores
        load = Load(server, watching, kept, made.prompts(cases), made.new_tokens, busiest)
        load.warm_up(extent.warm_up)
        load.measure(extent)
        load.sustain(extent)
    if pushed and not kept.of("peer"):
        _peer(made, pushed, kept, load.load_s)
    return parity


def _quiet(watching: Watch, cores: int, anyway: bool) -> tuple[State, State]:
    """Two looks between which others leave the device alone.

    Raises  DeviceError when they do not
    """
    until = time.monotonic() + QUIET_WAIT_S
    while True:
        first = watching.look()
        time.sleep(QUIET_S)
        looks = first, watching.look()
        (busy,) = watch.others_busy(looks) or [0.0]
        if busy <= BUSY_CORES or time.monotonic() > until or anyway:
            break
        say(f"  waiting: other processes keep {busy:.1f} of {cores} cores busy on the device")
    if busy > BUSY_SHARE * cores and not anyway:
        raise DeviceError(
            f"other processes keep {busy:.1f} of the device's {cores} cores busy (load average {looks[1].load})",
            "nothing was measured; end them there, or add --anyway: the run is then marked",
        )
    return looks


def _replay(server: Served, cases: list[GoldenCase], manifest: Manifest, kept: Journal) -> Parity:
    """Raises IntegrityError with the first difference, before anything is timed. What was answered before a cut is not
    asked again.
    """
    known = {row["id"]: row for row in kept.of("case")}
    said = f", {len(known)} of them before the cut" if known else ""
    say(f"{server.name}: replaying {len(cases)} golden cases{said}")
    parity = server.replay(cases, limits.of(manifest), known, lambda row: kept.add("case", **row))
    if not parity.passed:
        kept.drop(kind="case")
        raise IntegrityError(
            f"the device does not reproduce the golden cases: {parity.first_difference}",
            "no speed was measured: this bundle gives other answers there than it was validated with",
        )
    return parity


def _peer(made: Setup, pushed: Pushed, kept: Journal, load_s: float) -> None:
    """llama-bench, last of all: on a slow board it takes as long as all the rest, and would leave a hot device to the
    requests that count. The row says how long the device was busy before it.
    """
    say("llama-bench, pp512 and tg128")
    seen = [row for part in parts.of(kept) for row in part.asked("measured")]
    kept.add("peer", after_load_s=round(load_s), **llama.bench(made.device, pushed, made.threads, seen[-1].times))


@contextmanager
def _told_what_is_kept(kept: Journal) -> Iterator[None]:
    """Whatever ends a run says what is kept of it, and that the next one goes on."""
    try:
        yield
    except (EdgeDistillError, KeyboardInterrupt) as error:
        if told := kept.told():
            what = f"kept in {kept.path}: {told}; the same command goes on with that"
            if isinstance(error, KeyboardInterrupt):
                error.add_note(what)
            elif isinstance(error, DeviceError):
                error.hint = f"{error.hint}\n      {what}".strip()
        raise
