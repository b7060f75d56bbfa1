"""`methods`: train, pair and score in several ways, and say with intervals and costs which is better."""

from __future__ import annotations

from typing import Any

from edgedistill import contest as line
from edgedistill.commands import comparison
from edgedistill.report.methods import assemble, terminal


def run(**asked: Any) -> int:
    """See comparison.run."""
    return comparison.run("methods", line.contest, assemble.assemble, assemble.save, terminal.page, **asked)
