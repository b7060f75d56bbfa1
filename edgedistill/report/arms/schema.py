"""The report of `arms`, `schema: edgedistill.arms/1`. Ratios are 0-1; a value that was not taken is null, never 0."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgedistill.report.compared import ComparisonReport, Difference, Result
from edgedistill.sections import Section

SCHEMA = "edgedistill.arms/1"


class ResultLine(Result):
    """One arm on one task, or on all."""

    shots: int
    """Solved examples before the question."""
    scope: str
    """A task's name, `mean of tasks` or `pooled`."""


class DifferenceLine(Difference):
    """One arm minus another on one task, or on all."""

    shots: int
    scope: str
    paper: float | None = None
    """The same difference in ARTE, Gemma-2B on Big-Bench-Hard (Table 2; `one-style`: Table 6)."""


class DataLine(Section):
    """What an arm was trained on, per task; means over the runs."""

    arm: str
    task: str
    rows: float
    agreement: float
    """Share of rationales whose answer is the target that the question came with."""
    words: float
    """Per rationale."""
    distinct_pairs: float
    """Different pairs of neighboring words in the questions, as a share of all: diversity."""
    overlap: float
    """Mean share of words that two questions have in common (Jaccard): sameness."""


class SignalLine(Section):
    """How much the scores of the drafts can be trusted, and what became of them, per task; means over the runs."""

    task: str
    drafts: float
    exam: float
    """Items that scored a draft, on average."""
    compared: float = 0
    """Drafts that were scored on the most items: those that `reliability` rests on."""
    mean_score: float
    sd_score: float
    reliability: float | None
    """Spearman between the scores of two disjoint halves of the exam, over the drafts; mean of 200 halvings."""
    question_pairs: float
    question_gap: float | None
    """Mean difference of the scores in a pair."""
    rationale_pairs: float
    rationale_gap: float | None
    dropped: dict[str, float] = {}
    """Pairs that were not made, by reason."""


class TeacherLine(Section):
    """How far alignment moved the teacher in one run; means over the last tenth of the steps."""

    seed: int
    steps: int
    reward_margin: float | None = None
    reward_accuracy: float | None = None
    kl: float | None = None
    """From the original teacher, as the training curve has it."""


class RunLine(Section):
    """Where the artifacts of one arm of one run lie."""

    arm: str
    seed: int
    data: str | None
    """Key of the stage `sample`."""
    graded: str
    """Key of the stage `grade`."""


class ArmsReport(ComparisonReport):
    """One comparison; `answer` says whether alignment helped this student."""

    schema_: Annotated[str, Field(alias="schema")] = SCHEMA
    shots: tuple[int, ...]
    tasks: dict[str, int]
    """Task -> test items."""
    test_items: str | None = None
    """The folder that test items were read from, when they are not the tasks' own."""
    results: tuple[ResultLine, ...]
    differences: tuple[DifferenceLine, ...] = ()
    data: tuple[DataLine, ...] = ()
    signal: tuple[SignalLine, ...] = ()
    aligned: tuple[TeacherLine, ...] = ()
    runs: tuple[RunLine, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line.arm for line in self.results))

    def result(self, arm: str, shots: int, scope: str) -> ResultLine:
        return next(r for r in self.results if (r.arm, r.shots, r.scope) == (arm, shots, scope))

    def difference(self, arm: str, against: str, shots: int, scope: str) -> DifferenceLine | None:
        """None when one of the two was not run, or both are the same."""
        asked = (arm, against, shots, scope)
        return next((d for d in self.differences if (d.arm, d.against, d.shots, d.scope) == asked), None)
