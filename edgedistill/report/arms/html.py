"""report.html of a comparison: one file, no scripts, nothing from outside, light and dark."""

from __future__ import annotations

from pathlib import Path

from edgedistill.report import words as general
from edgedistill.report.arms import picture, words
from edgedistill.report.arms.schema import ArmsReport


def page(report: ArmsReport) -> str:
    """The whole page; everything that comes from a recipe or a model is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    given = {"report": report, "picture": picture, "words": words, "general": general}
    return environment.get_template("arms.html.j2").render(given)
