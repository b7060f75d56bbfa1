"""What can go wrong, as a tree. Each class carries the exit code that the command ends with. None has 1, which means
that a budget was missed.

EdgeDistillError        something the user can mend; shown without a traceback
├── UsageError          2   a recipe, target, option or model folder is not usable as given
│   └── CannotRun       2   a runtime cannot load or run a model file; `validate` rejects that candidate alone
├── DeviceError         3   the device or the way to it failed; its kinds are in devices/faults.py
├── IntegrityError      4   parity, hashes or signatures do not hold
│   └── NothingToShip   4   no candidate reproduces the float student; carries what was measured, for the report
└── StageFailed         2   a stage could not finish, e.g. the disk is full or the teacher wrote nothing usable
    └── TimedOut        2   a step in a process of its own took too long, and was stopped
"""

from __future__ import annotations

from typing import Any


class EdgeDistillError(Exception):
    """Something the user can mend: `problem` says what and where, `hint` what to do next."""

    exit_code = 2

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class UsageError(EdgeDistillError):
    """A recipe, target, option or model folder is not usable as given."""


class CannotRun(UsageError):
    """A runtime cannot load or run a model file."""


class DeviceError(EdgeDistillError):
    """The device, or the way to it, failed."""

    exit_code = 3


class IntegrityError(EdgeDistillError):
    """Parity, hashes or signatures do not hold."""

    exit_code = 4


class NothingToShip(IntegrityError):
    """No candidate reproduces the float student. `measured` is what measurements.json holds."""

    def __init__(self, problem: str, hint: str, measured: dict[str, Any]) -> None:
        super().__init__(problem, hint)
        self.measured = measured


class StageFailed(EdgeDistillError):
    """A stage could not finish. What it finished before is kept."""


class TimedOut(StageFailed):
    """A step took too long: it hangs, or the machine is busy."""
