"""`bench`: run a bundle on its device, grade its budgets by what was found there, and say so in bundle and report."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from edgedistill import bundle_manifest, transport
from edgedistill import target as targets
from edgedistill.benchmark import calibration, fit, grading, journal
from edgedistill.benchmark.load import FULL, QUICK
from edgedistill.benchmark.run import Found, benchmark
from edgedistill.bundle_manifest import MANIFEST, Manifest
from edgedistill.errors import UsageError
from edgedistill.files import sha256_of, size_of
from edgedistill.report import assemble, on_disk, terminal
from edgedistill.report.lineage import lines_of
from edgedistill.report.schema import BundleLine, Report


def run(*, bundle: Path, device: str | None, quick: bool, keep: bool, anyway: bool, as_json: bool) -> int:
    """Measure, grade, write, tell. The exit code is that of the budgets."""
    bundle = bundle.resolve()  # `.` has no name that a report could lie beside
    manifest = bundle_manifest.read(bundle)
    report, found = measured(bundle, device or _address(manifest), quick=quick, keep=keep, anyway=anyway)
    if as_json:
        click.echo(json.dumps(on_disk.as_json(report), indent=2, ensure_ascii=False))
    else:
        beside = bundle.with_name(f"{bundle.name}.report.html")
        where = [f"bundle   {bundle}", f"report   {beside}", f"raw      {found.raw}"]
        click.echo("\n".join(["", *terminal.page(report), "", *where]))
    return report.exit_code


def measured(
    folder: Path, address: str, *, quick: bool, keep: bool, anyway: bool, is_measured_required: bool = False
) -> tuple[Report, Found]:
    """The bundle's report after a benchmark; bundle, report files and calibration are written.

    Until all of that is there the run does not count as finished: the next one goes on with what was measured.
    """
    check_address(address, fit.target_of(bundle_manifest.read(folder)))
    with journal.held(folder, address):
        return _measured(folder, address, quick, keep, anyway, is_measured_required)


def _measured(
    folder: Path, address: str, quick: bool, keep: bool, anyway: bool, is_measured_required: bool
) -> tuple[Report, Found]:
    started, begun = datetime.now(UTC), time.monotonic()
    manifest = bundle_manifest.read(folder)
    beside = folder.with_name(f"{folder.name}.report")
    earlier = _earlier(beside.with_name(f"{beside.name}.json"), manifest)
    found = benchmark(folder, address, QUICK if quick else FULL, keep=keep, anyway=anyway)
    manifest = grading.into_bundle(folder, found)
    report = earlier or _of(manifest, started, time.monotonic() - begun)
    report = told(report, manifest, folder, is_measured_required=is_measured_required)
    assemble.save(report, lines_of(manifest.lineage), beside)
    calibration.calibrate(folder, manifest, found.latency)
    found.finish()
    return report, found


def told(report: Report, manifest: Manifest, folder: Path, *, is_measured_required: bool = False) -> Report:
    """A report that says of the device what the bundle's manifest does."""
    earlier = on_disk.as_json(report)
    changed = {
        "candidates": [_line(one, manifest) for one in earlier["candidates"]],
        "budgets": list(manifest.budgets),
        "benchmark": manifest.benchmark,
        "elsewhere": manifest.elsewhere,
        "bundle": _bundle_line(folder),
    }
    made = Report.model_validate({**earlier, **changed})
    return made.model_copy(update={"exit_code": assemble.exit_code(made, is_measured_required)})


def check_address(address: str, target: targets.Target) -> None:
    """Refuse to measure one device's budgets on another, before anything is built. The device itself is asked later; a
    tape tells of whichever device it was recorded on.

    Raises  UsageError
    """
    scheme = transport.parse(address).scheme
    is_here = scheme == "local"
    if scheme == "replay":
        return
    if target.triple == "native" and not is_here:
        raise UsageError(
            f"--device {address}: target `{target.name}` is built for this machine",
            "name the device's own target with --target; `edgedistill targets` lists them",
        )
    if is_here and not fit.is_this_machine(target.triple):
        raise UsageError(
            f"--device local: target `{target.name}` is {target.title}, not this machine",
            "`--target host` measures here; without --device the figures of the target are predicted",
        )


def _address(manifest: Manifest) -> str:
    """Where the bundle's target is, when nobody says."""
    if manifest.target.triple == "native":
        return "local"
    raise UsageError(
        f"where is the {manifest.target.title}?",
        f"`edgedistill bench … --device ssh://user@host`; without a device the figures of `{manifest.target.name}` are "
        "predicted",
    )


def _earlier(path: Path, manifest: Manifest) -> Report | None:
    """The build's report beside the bundle; None where it did not come along, or is of another model.

    Raises  UsageError for one that cannot be read: it is not overwritten
    """
    report = assemble.load(path) if path.is_file() else None
    return report if report and report.chosen and report.chosen.sha256 == manifest.chosen["sha256"] else None


def _of(manifest: Manifest, started: datetime, seconds: float) -> Report:
    """What the manifest knows, for a bundle that came alone."""
    return assemble.assemble(
        recipe=manifest.recipe,
        target=manifest.target.name,
        build_id="",
        started=started,
        seconds=seconds,
        steps=[],
        measured={"student": manifest.student or None, "candidates": [manifest.chosen], "budgets": manifest.budgets},
        bundle=None,
    )


def _line(candidate: dict[str, object], manifest: Manifest) -> dict[str, object]:
    """The chosen candidate with its new figures; the others as they were."""
    if not candidate["chosen"]:
        return candidate
    return {**candidate, "latency": manifest.chosen["latency"], "memory_mib": manifest.chosen["memory_mib"]}


def _bundle_line(folder: Path) -> BundleLine:
    return BundleLine(path=str(folder), bytes=size_of(folder), manifest_sha256=sha256_of(folder / MANIFEST))
