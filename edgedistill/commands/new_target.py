"""`targets new`: a draft of a target from what a live device tells. A person fills in the rest."""

from __future__ import annotations

from pathlib import Path

import click

from edgedistill import target_draft, transport
from edgedistill.errors import UsageError
from edgedistill.files import write_text


def run(device: str, to: Path | None) -> int:
    """Write the draft, or print it when no file is named. Never writes over anything."""
    text = target_draft.draft(_facts(device))
    if to is None:
        click.echo(text, nl=False)
        return 0
    goal = to if to.suffix in (".yaml", ".yml") else to.with_name(f"{to.name}.yaml")
    if goal.exists():
        raise UsageError(f"{goal} exists already", "give another path")
    write_text(goal, text)
    shown = goal if goal.is_absolute() or len(goal.parts) > 1 else f"./{goal}"
    click.echo(f"{goal}\nfill in what it could not tell, then `edgedistill targets check {shown}`")
    return 0


def _facts(address: str) -> target_draft.Facts:
    """What the device tells. Memory is copied on this machine only: that takes a program of ours."""
    if address in ("local", "host"):
        return target_draft.this_machine()
    with transport.open_device(address) as device:
        found = device.facts()
    return target_draft.Facts(
        cpuinfo=found.cpuinfo,
        meminfo=found.meminfo,
        machine=found.machine,
        max_khz=found.max_khz,
        how=address.partition("://")[0],
    )
