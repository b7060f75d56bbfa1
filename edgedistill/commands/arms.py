"""`arms`: train the same student on data made in other ways, and say with intervals what alignment adds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from edgedistill import arms as line
from edgedistill.commands import comparison
from edgedistill.report.arms import assemble, terminal


def run(*, test_items: Path | None, **asked: Any) -> int:
    """See comparison.run."""
    made = partial(assemble.assemble, test_items=test_items)
    return comparison.run("arms", line.arms, made, assemble.save, terminal.page, test_items=test_items, **asked)
