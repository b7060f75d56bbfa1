"""`build`: run the line, write the report, put the bundle where it ships from."""

from __future__ import annotations

import json
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from edgedistill import build as line
from edgedistill import recipe as recipes
from edgedistill import target as targets
from edgedistill import transport
from edgedistill.benchmark import grading
from edgedistill.bundle_manifest import MANIFEST
from edgedistill.commands import bench
from edgedistill.commands.going_on import kept, told_what_is_kept
from edgedistill.errors import EdgeDistillError, NothingToShip, UsageError
from edgedistill.files import sha256_of
from edgedistill.learning import TutoredConfig
from edgedistill.log import say
from edgedistill.publishing import place, publish
from edgedistill.recipe import Recipe
from edgedistill.report import alignment, assemble, on_disk, terminal
from edgedistill.report.lineage import lineage_of
from edgedistill.report.schema import BundleLine, Report
from edgedistill.store import Stopped, Store
from edgedistill.toolchain import runtime as runtimes

_OF_ALIGNMENT = ("elicit", "prefer", "align")
_OF_TRAINING = ("tailor", "distill")


def run(
    *,
    target: str,
    recipe: str | None,
    overrides: tuple[str, ...],
    until: str | None,
    fresh: str | None,
    device: str | None,
    require: str | None,
    runs: Path,
    dist: Path,
    as_json: bool,
    test_items: Path | None = None,
    student: str | None = None,
    chat_template: str | None = None,
    text: str | None = None,
    with_runtime: bool = False,
) -> int:
    """Build, report, publish. Progress on stderr, the result on stdout."""
    started, begun = datetime.now(UTC), time.monotonic()
    device_of = targets.load(target)
    alone = {"student": student, "chat_template": chat_template, "text": text}
    made = recipes.asked(recipe, overrides, device_of.default_recipe, **alone)
    if device:
        _look_at(device, device_of)
    for option, name in (("--until", until), ("--fresh", fresh)):
        _check_stage(option, name, made)
    store = Store(runs, fresh=fresh, until=until, on_step=lambda step: say(terminal.step_line(step)))
    again = _again(target, recipe, overrides, device, runs, dist, test_items, alone, with_runtime)
    ships = runtimes.shipped(device_of) if with_runtime else None
    built: line.Built | None = None
    refused: NothingToShip | None = None
    with told_what_is_kept(store, again):
        try:
            built = line.build(store, made, device_of, test_items, ships)
        except Stopped:
            pass
        except NothingToShip as nothing:
            refused = nothing
    folder = assemble.new_folder(runs, started, made.name, device_of.name) if built or refused else None
    report = assemble.assemble(
        recipe=made.name,
        target=device_of.name,
        build_id=folder.name if folder else "",
        started=started,
        seconds=time.monotonic() - begun,
        steps=store.steps,
        measured=built.measurements.read() if built else refused.measured if refused else {},
        bundle=_bundle_line(built, dist) if built else None,
        alignment=alignment.read(built.aligned.curve()) if built and built.aligned else None,
        is_measured_required=require == "measured",
    )
    if folder is None:
        return _say_stopped(report, until, as_json)
    where = _save(report, folder) if not built else []
    if built:
        report, where = _save_and_ship(report, built, folder, dist, is_measured_required=require == "measured")
    if built and device:
        report, raw = _on_device(built, folder, device, dist, is_measured_required=require == "measured")
        where.append(f"raw      {raw}")
    if as_json:
        click.echo(json.dumps(on_disk.as_json(report), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(["", *terminal.page(report), "", *where]))
    if refused:
        refused.hint = f"{refused.hint}\n      {kept(store, again)}"
        raise refused
    return report.exit_code


def _look_at(device: str, target: targets.Target) -> None:
    """Whether the device is there, before hours are spent. Raises UsageError, DeviceError."""
    bench.check_address(device, target)
    with transport.open_device(device) as opened:
        say(f"device   {opened.facts().model or device} is there")


def _check_stage(option: str, name: str | None, made: Recipe) -> None:
    """Refuse a stage that this recipe's line does not have."""
    if name in _OF_ALIGNMENT and not (made.prefer and made.align):
        raise UsageError(f"{option} {name}: recipe `{made.name}` has no such stage, as it has no `prefer` and `align`")
    if name in _OF_TRAINING and not made.distill:
        raise UsageError(f"{option} {name}: recipe `{made.name}` has no such stage, as it has no `distill`")
    if name == "teach" and not any(isinstance(one, TutoredConfig) and one.hints for one in made.distill):
        raise UsageError(
            f"{option} teach: recipe `{made.name}` has no such stage: no method of its reads what teachers wrote down",
            "`distill.method: topk_kd` does",
        )


def _bundle_line(built: line.Built, dist: Path) -> BundleLine:
    """What will ship, and where it will lie; the store's copy is looked at."""
    made = built.bundle.folder
    return BundleLine(
        path=str(place(made, dist)),
        bytes=sum(path.stat().st_size for path in made.rglob("*") if path.is_file()),
        manifest_sha256=sha256_of(made / MANIFEST),
    )


def _save_and_ship(
    report: Report, built: line.Built, folder: Path, dist: Path, *, is_measured_required: bool
) -> tuple[Report, list[str]]:
    """Write the report into the work folder, publish the bundle, and put the report beside it; the report with what was
    measured on the same model before, and where it all is, in lines.

    The report comes first: it is there also when the bundle cannot be published.
    """
    lineage = lineage_of(built.bundle)
    assemble.save(report, lineage, folder / "report")
    earlier = grading.published(place(built.bundle.folder, dist))
    shipped = publish(built.bundle.folder, dist)
    if manifest := grading.carry_over(shipped, earlier):
        report = bench.told(report, manifest, shipped, is_measured_required=is_measured_required)
        assemble.save(report, lineage, folder / "report")
    beside = assemble.save(report, lineage, shipped.with_name(f"{shipped.name}.report"))
    return report, [f"bundle   {shipped}", f"report   {beside['html']}"]


def _on_device(
    built: line.Built, folder: Path, device: str, dist: Path, *, is_measured_required: bool
) -> tuple[Report, Path]:
    """Run the bundle where it ships from on its device; the report with what was found there, and the raw rows."""
    shipped = place(built.bundle.folder, dist)
    try:
        report, found = bench.measured(
            shipped, device, quick=False, keep=False, anyway=False, is_measured_required=is_measured_required
        )
    except EdgeDistillError as error:
        again = shlex.join(["edgedistill", "bench", str(shipped), "--device", device])
        error.hint = f"{error.hint}\n      the bundle is whole, in {shipped}; go on with `{again}`".strip()
        raise
    assemble.save(report, lineage_of(built.bundle), folder / "report")
    return report, found.raw


def _save(report: Report, folder: Path) -> list[str]:
    """The report alone, of a build that has nothing to ship."""
    return [f"report   {assemble.save(report, {}, folder / 'report')['html']}"]


def _say_stopped(report: Report, until: str | None, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(on_disk.as_json(report), indent=2, ensure_ascii=False))
    else:
        click.echo(f"stopped after {until}, as asked")
    return 0


def _again(
    target: str,
    recipe: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    runs: Path,
    dist: Path,
    test_items: Path | None,
    alone: dict[str, str | None],
    with_runtime: bool,
) -> str:
    """The command that goes on: without --fresh, which would begin anew."""
    words: list[Any] = ["edgedistill", "build", "--target", target]
    words += ["--recipe", recipe] if recipe else []
    words += [word for name, value in alone.items() if value for word in (f"--{name.replace('_', '-')}", value)]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--device", device] if device else []
    words += ["--with-runtime"] if with_runtime else []
    words += ["--test-items", test_items] if test_items else []
    words += ["--runs", runs] if runs != Path("runs") else []
    words += ["--dist", dist] if dist != Path("dist") else []
    return shlex.join(str(word) for word in words)
