"""report.html: one file, no scripts, nothing from outside, light and dark."""

from __future__ import annotations

from pathlib import Path

from edgedistill.report import alignment, bench, template, words
from edgedistill.report.picture import accuracy_against_size, accuracy_against_time
from edgedistill.report.schema import Report


def page(report: Report, lineage: dict[str, str]) -> str:
    """The whole page; everything that comes from a recipe or a model is escaped."""
    given = {"report": report, "lineage": lineage, "picture": accuracy_against_size(report), "words": words}
    given["times"] = accuracy_against_time(report)
    given["bench"] = bench
    given["curve"] = alignment.picture(report.alignment)
    return template.rendered(Path(__file__).parent, "page.html.j2", given)
