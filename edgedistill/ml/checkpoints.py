"""Checkpoints that a killed training goes on from. Only those with a mark count: the mark is written last."""

from __future__ import annotations

import shutil
from pathlib import Path

_MARK = "whole"


def mark(checkpoint: Path) -> None:
    """Say that every file of a checkpoint is written, then let go of the older ones."""
    (checkpoint / _MARK).touch()
    for older in _checkpoints(checkpoint.parent):
        if step_of(older) < step_of(checkpoint):
            _remove(older)


def newest(folder: Path) -> Path | None:
    """The last whole checkpoint in a folder."""
    whole = [found for found in _checkpoints(folder) if (found / _MARK).is_file()]
    return max(whole, key=step_of, default=None)


def discard(folder: Path) -> None:
    """Remove the folder with all its checkpoints."""
    for checkpoint in _checkpoints(folder):
        _remove(checkpoint)
    shutil.rmtree(folder, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _checkpoints(folder: Path) -> list[Path]:
    return [found for found in folder.glob("checkpoint-*") if found.name.rpartition("-")[2].isdigit()]


def _remove(checkpoint: Path) -> None:
    # The mark goes first: a kill in between must not leave a marked checkpoint with files missing.
    (checkpoint / _MARK).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
