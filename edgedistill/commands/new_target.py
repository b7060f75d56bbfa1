"""`targets new`: a draft of a target from what a live device tells. A person fills in the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgedistill import target_draft, transport
from edgedistill.errors import UsageError
from edgedistill.files import write_text
from edgedistill.log import say

if TYPE_CHECKING:
    from edgedistill.devices.facts import Facts


def run(device: str, to: Path | None) -> int:
    """Write the draft, or print it when no file is named. Never writes over anything."""
    address = transport.parse(device)
    if address.scheme == "qemu":
        raise UsageError(
            f"{address} is an emulator: its memory, cores and clock are those of this machine, not of a device",
            "draft from the device itself, or copy a target that is like it: `edgedistill targets copy rpi5 mine`",
        )
    with transport.open_device(address) as opened:
        facts = opened.facts()
    # A copy test takes a program of ours, which a device elsewhere has not.
    copied, busy = (None, "") if address.scheme != "local" else (target_draft.copy_rate(), _busy(facts))
    if busy:
        say(f"copy_gb_s: {busy}; it may be too low")
    text = target_draft.draft(facts, address.scheme, copied, busy)
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


def _busy(facts: Facts) -> str:
    """What others do on this machine, when it is enough to spoil a measurement."""
    load, cores = os.getloadavg()[0], facts.cores or 1
    return f"others were busy (load {load:.1f}, cores: {cores})" if load > cores / 2 else ""
