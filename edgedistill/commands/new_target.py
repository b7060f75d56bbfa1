"""`targets new`: a draft of a target from what a live device tells. A person fills in the rest."""

from __future__ import annotations

from pathlib import Path

import click

from edgedistill import target_draft, transport
from edgedistill.errors import UsageError
from edgedistill.files import write_text


def run(device: str, to: Path | None) -> int:
    """Write the draft, or print it when no file is named. Never writes over anything."""
    address = transport.parse(device)
    with transport.open_device(address) as opened:
        facts = opened.facts()
    # A copy test takes a program of ours, which a device elsewhere has not.
    copied = target_draft.copy_rate() if address.scheme == "local" else None
    text = target_draft.draft(facts, address.scheme, copied)
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
