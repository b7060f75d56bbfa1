"""report.html of a comparison: one file, no scripts, nothing from outside, light and dark."""

from __future__ import annotations

from pathlib import Path

from edgedistill.report import template
from edgedistill.report import words as general
from edgedistill.report.arms import picture, words
from edgedistill.report.arms.schema import ArmsReport


def page(report: ArmsReport) -> str:
    """The whole page; everything that comes from a recipe or a model is escaped."""
    given = {"report": report, "picture": picture, "words": words, "general": general}
    return template.rendered(Path(__file__).parent, "arms.html.j2", given)
