"""The report of `methods`, `schema: edgedistill.methods/1`. Ratios are 0-1; what was not taken is null, never 0."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgedistill.report.compared import ComparisonReport, Difference, Result
from edgedistill.sections import Section

SCHEMA = "edgedistill.methods/1"

TableName = Literal["methods", "pairs", "signals"]


class ResultLine(Result):
    """One arm of a table on one set of test items; every task weighs the same."""

    table: TableName
    items: str
    """`test items`, or the name of the folder that was given."""


class DifferenceLine(Difference):
    """One arm minus the first of its table, or another that it is to be better than."""

    table: TableName
    items: str


class CostLine(Section):
    """What an arm took, mean over the runs that were timed."""

    table: TableName
    arm: str
    student_tokens: float
    """That the student read in training, padding left out."""
    token_ratio: float | None = None
    """To those of the first arm of the table, mean over runs."""
    left_out: dict[str, float] = {}
    """Rows, prompts or answers per run that were not learned from, by reason."""
    runs: int
    """That were timed; those taken from an older store are not."""
    seconds: float | None = None
    """Of what differs: methods, the student's training; pairs, the teacher's; signals, the scoring."""
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    """Most resident memory of the process meanwhile."""


class FailureLine(Section):
    """An arm that did not come to its end with one seed; it is in no other table."""

    table: TableName | Literal["prediction"]
    arm: str
    seed: int
    reason: str


class AgreementLine(Section):
    """Two signals on the same drafts."""

    signal: str
    other: str
    drafts: float
    """Per run."""
    spearman: float | None
    ci_low: float | None
    ci_high: float | None
    by_run: tuple[float | None, ...]


class PredictionLine(Section):
    """A signal's mean score of a group of drafts against what fine-tuning on the group gained."""

    signal: str
    figure: Literal["accuracy", "log_prob"]
    """On validation items outside the exam: right answers, or log-probability per token of the right ones."""
    groups: float
    """Per run."""
    spearman: float | None
    ci_low: float | None
    ci_high: float | None
    by_run: tuple[float | None, ...]


class MethodsReport(ComparisonReport):
    """One comparison."""

    schema_: Annotated[str, Field(alias="schema")] = SCHEMA
    items: dict[str, int]
    """Set of test items -> how many."""
    results: tuple[ResultLine, ...] = ()
    differences: tuple[DifferenceLine, ...] = ()
    costs: tuple[CostLine, ...] = ()
    failures: tuple[FailureLine, ...] = ()
    agreement: tuple[AgreementLine, ...] = ()
    prediction: tuple[PredictionLine, ...] = ()

    @property
    def tables(self) -> tuple[TableName, ...]:
        return tuple(dict.fromkeys(line.table for line in self.results))

    def arms(self, table: TableName) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line.arm for line in self.results if line.table == table))

    def result(self, table: TableName, arm: str, items: str) -> ResultLine:
        return next(r for r in self.results if (r.table, r.arm, r.items) == (table, arm, items))

    def difference(self, table: TableName, arm: str, items: str) -> DifferenceLine | None:
        """From the first arm of the table; None for that one."""
        first = self.arms(table)[0]
        found = (d for d in self.differences if (d.table, d.arm, d.items, d.against) == (table, arm, items, first))
        return next(found, None)

    def further(self, table: TableName) -> tuple[DifferenceLine, ...]:
        """Differences from other arms than the first."""
        first = self.arms(table)[0]
        return tuple(d for d in self.differences if d.table == table and d.against != first)

    def cost(self, table: TableName, arm: str) -> CostLine:
        return next(c for c in self.costs if (c.table, c.arm) == (table, arm))
