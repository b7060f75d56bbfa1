"""`targets new`: a draft of a target from what a live device tells. A person fills in the rest."""

from __future__ import annotations

from pathlib import Path

import click

from edgedistill import target_draft
from edgedistill.errors import DeviceError, UsageError
from edgedistill.files import write_text

_READERS = {"local": target_draft.this_machine, "host": target_draft.this_machine}
"""Address -> what reads the device's facts. Transports to other devices join here."""


def run(device: str, to: Path | None) -> int:
    """Write the draft, or print it when no file is named. Never writes over anything."""
    if device not in _READERS:
        raise DeviceError(
            f"`targets new` cannot look at {device} yet; it knows: {', '.join(_READERS)}",
            "`edgedistill targets copy rpi5 my-board` gives a file to fill in by hand",
        )
    text = target_draft.draft(_READERS[device]())
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
