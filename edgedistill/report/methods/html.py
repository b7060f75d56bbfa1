"""report.html of a contest: one file, no scripts, nothing from outside, light and dark."""

from __future__ import annotations

from pathlib import Path

from edgedistill.report import template
from edgedistill.report import words as general
from edgedistill.report.methods import picture, words
from edgedistill.report.methods.schema import MethodsReport


def page(report: MethodsReport) -> str:
    """The whole page; everything that comes from a recipe or a model is escaped."""
    given = {"report": report, "picture": picture, "words": words, "general": general}
    return template.rendered(Path(__file__).parent, "methods.html.j2", given)
