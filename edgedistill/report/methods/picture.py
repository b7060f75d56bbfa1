"""The arms of a table with their intervals, as an SVG."""

from __future__ import annotations

from edgedistill.report.arms.picture import Row, draw
from edgedistill.report.methods.schema import MethodsReport, TableName


def accuracies(report: MethodsReport, table: TableName, items: str) -> str:
    """All arms; one that is clearly apart from the first is colored."""
    rows = []
    for arm in report.arms(table):
        line, against = report.result(table, arm, items), report.difference(table, arm, items)
        kind = against.verdict if against else "chosen"
        rows.append(Row(arm, line.accuracy, line.ci_low, line.ci_high, line.by_run, kind))
    return draw(rows, f"accuracy, {items}", has_zero=False)
