"""A benchmark from beginning to end. Parity on the device comes before speed: a wrong answer has no speed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgedistill import golden, transport
from edgedistill.benchmark import figures, journal, limits, llama, setup, watch
from edgedistill.benchmark.journal import Journal
from edgedistill.benchmark.load import Extent, Load
from edgedistill.benchmark.served import Served
from edgedistill.benchmark.setup import Setup
from edgedistill.benchmark.watch import Watch
from edgedistill.bundle_manifest import Manifest, open_bundle
from edgedistill.errors import DeviceError, EdgeDistillError, IntegrityError
from edgedistill.files import read_rows
from edgedistill.golden import GoldenCase
from edgedistill.latency import BUSY_CORES
from edgedistill.log import say
from edgedistill.parity import Parity

QUIET_WAIT_S = 20.0
BUSY_SHARE = 0.25
"""Of all cores: when others keep more of them busy, nothing is measured."""


@dataclass(frozen=True)
class Found:
    """What a benchmark leaves, in the report's shapes."""

    parity: dict[str, Any]
    latency: dict[str, Any]
    memory_mib: dict[str, Any] | None
    raw: Path
    """The journal."""


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
        same = {**settings, "machine": made.facts.machine, "cpu": made.facts.cpu}
        kept = Journal(journal.place(folder, address), same)
        if kept.resumed:
            say(f"going on with {kept.resumed} requests of a run that was cut")
        with _told_what_is_kept(kept):
            parity = _measure(made, extent, kept, anyway)
            kept.add("done")
    return Found(
        parity.line(),
        figures.latency_line(kept, made.facts, device.evidence, settings),
        figures.memory_line(kept, device.evidence),
        kept.path,
    )


def _measure(made: Setup, extent: Extent, kept: Journal, anyway: bool) -> Parity:
    """The line itself."""
    pushed = made.push()
    watching = Watch(made.device)
    _wait_until_quiet(watching, kept, made.facts.cores or 1, anyway)
    cases = golden.from_rows(list(read_rows(made.folder / "golden.jsonl")))
    with made.serving(pushed) as server:
        parity = _replay(server, cases, made.manifest)
        kept.add("parity", runtime=server.name, **parity.line())
        load = Load(server, watching, kept, made.prompts(cases), made.new_tokens)
        load.warm_up(extent.warm_up)
        load.measure(extent)
        load.sustain(extent)
    if pushed and not kept.of("peer"):
        say("llama-bench, pp512 and tg128")
        kept.add("peer", **llama.bench(made.device, pushed, made.threads))
    return parity


def _wait_until_quiet(watching: Watch, kept: Journal, cores: int, anyway: bool) -> None:
    """Look twice, a second apart, until others leave the device alone; our own push may have kept it busy."""
    until = time.monotonic() + QUIET_WAIT_S
    while True:
        first = watching.look()
        time.sleep(1.0)
        looks = [first, watching.look()]
        (busy,) = watch.others_busy(looks) or [0.0]
        if busy <= BUSY_CORES or time.monotonic() > until or anyway:
            break
        say(f"  waiting: other processes keep {busy:.1f} of {cores} cores busy on the device")
    if busy > BUSY_SHARE * cores and not anyway:
        raise DeviceError(
            f"other processes keep {busy:.1f} of the device's {cores} cores busy (load average {looks[1].load})",
            "nothing was measured; end them there, or add --anyway: the run is then marked",
        )
    kept.drop("state", phase="before")
    for look in looks:
        kept.add("state", phase="before", load_s=0.0, **asdict(look))


def _replay(server: Served, cases: Sequence[GoldenCase], manifest: Manifest) -> Parity:
    """Raises IntegrityError with the first difference, before anything is timed."""
    say(f"{server.name}: replaying {len(cases)} golden cases")
    parity = server.replay(cases, limits.of(manifest))
    if not parity.passed:
        raise IntegrityError(
            f"the device does not reproduce the golden cases: {parity.first_difference}",
            "no speed was measured: this bundle gives other answers there than it was validated with",
        )
    return parity


@contextmanager
def _told_what_is_kept(kept: Journal) -> Iterator[None]:
    """Whatever ends a run says what is kept of it, and that the next one goes on."""
    try:
        yield
    except (EdgeDistillError, KeyboardInterrupt) as error:
        count = len(kept.of("request"))
        what = f"{count} requests are kept in {kept.path}; the same command goes on with them"
        if isinstance(error, KeyboardInterrupt):
            error.add_note(what)
        elif isinstance(error, DeviceError) and count:
            error.hint = f"{error.hint}\n      {what}".strip()
        raise
