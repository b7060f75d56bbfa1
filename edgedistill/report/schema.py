"""The report, `schema: edgedistill.report/1`: what `build --json` prints and report.json holds.

Ratios are 0-1. A value that was not taken is null, never 0. `validate` leaves `student`, `candidates` and `budgets` in
measurements.json in these shapes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgedistill.sections import Section

SCHEMA = "edgedistill.report/1"

Evidence = Literal["measured", "emulated", "predicted"]
Verdict = Literal["met", "missed", "unproven"]


class StageLine(Section):
    """What became of one stage."""

    name: str
    key: str
    status: Literal["cached", "ran"]
    seconds: float
    rows: int | None = None
    summary: str = ""


class Arm(Section):
    """One way of making the student, e.g. without alignment."""

    name: str
    accuracy: float
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None


class AlignPoint(Section):
    """The teacher's training up to a step: means over the steps since the point before."""

    step: int
    loss: float
    reward_margin: float
    reward_accuracy: float
    kl: float
    """Nats per token of the pairs' answers, from the original teacher (ml/preference.py says how)."""


class Alignment(Section):
    """How the teacher learned the student's preferences. Every single step is in the stage's curve.jsonl."""

    steps: int
    curve: tuple[AlignPoint, ...]


class Way(Section):
    """One way of taking the answers to the test items, with 95% intervals."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    drop: float | None = None
    """Paired with the float student's in the same way; null where it has none."""
    drop_ci_low: float | None = None
    drop_ci_high: float | None = None
    mcnemar_p: float | None = None


class PublicTask(Section):
    """A task of the lm-evaluation-harness: its first figure."""

    metric: str
    value: float
    stderr: float | None = None
    n: int


class StudentLine(Section):
    """The student before and after, on the task's test items, as float."""

    base_accuracy: float
    base_ci_low: float | None = None
    base_ci_high: float | None = None
    tuned_accuracy: float
    tuned_ci_low: float | None = None
    tuned_ci_high: float | None = None
    n: int
    details: dict[str, float] = {}
    """The grader's further figures of the tuned student, e.g. intent accuracy."""
    base_details: dict[str, float] = {}
    ways: dict[str, Way] = {}
    """The tuned student's answers taken in other ways, as for a candidate."""
    lm_eval: dict[str, PublicTask] = {}
    arms: tuple[Arm, ...] = ()


class Parity(Section):
    """How a runtime reproduces the golden cases: of `cases`, how many agree in each respect."""

    cases: int
    prompt_text: int
    token_ids: int
    first_token_kl_max: float | None
    """Nats, over all cases."""
    top1: int | None = None
    """Cases with the same likeliest first token."""
    top_k: float | None = None
    """Share of the float student's 20 likeliest first tokens that are among the runtime's, mean over the cases, 0-1."""
    answer_kl_mean: float | None = None
    """Nats, over all positions of the golden answers."""
    greedy_text: int
    passed: bool


class Accuracy(Section):
    """On the task's test items, with 95% intervals, paired with the float student on the same items."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    drop: float
    drop_ci_low: float | None = None
    drop_ci_high: float
    """By Tango's score; the gate wants this and `bootstrap_high` within the margin."""
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    mcnemar_p: float | None = None
    lost: int | None = None
    """Items that only the float student answers right."""
    gained: int | None = None
    format_rate: float | None = None
    length_ratio: float | None = None
    """Characters of all answers against the float student's."""
    ways: dict[str, Way] = {}
    """`generation`, `likelihood` (the likeliest option of questions with options), `grammar` (within the task's)."""
    details: dict[str, float] = {}

    @property
    def worst_drop(self) -> float:
        return max(self.drop_ci_high, self.bootstrap_high or self.drop_ci_high)


class FirstToken(Section):
    """Milliseconds. A prediction has `low` and `high` in place of percentiles beside the median."""

    p50: float
    p90: float | None = None
    p99: float | None = None
    low: float | None = None
    high: float | None = None


class DecodeSpeed(Section):
    """Tokens per second; p10 is the slow end."""

    p50: float
    p10: float | None = None
    low: float | None = None
    high: float | None = None


class Percentiles(Section):
    """Of all measured requests; p99 is the slow end, null where they are fewer than a hundred."""

    p50: float
    p90: float
    p99: float | None = None


class Latency(Section):
    """Where, how many and under which conditions is in `conditions`."""

    first_token_ms: FirstToken
    decode_tok_s: DecodeSpeed
    prefill_tok_s: float | None = None
    token_ms: Percentiles | None = None
    """Milliseconds per written token, after the first."""
    prompt_token_ms: Percentiles | None = None
    """Milliseconds per token of the prompt, until the first answer token is chosen."""
    answer_ms: float | None = None
    """First token and decoding of an answer of the task's usual length, milliseconds."""
    evidence: Evidence
    conditions: dict[str, str | int | float | None] = {}


class Memory(Section):
    """Peak of the runtime with the model, MiB."""

    peak: float
    low: float | None = None
    high: float | None = None
    evidence: Evidence


class OnDevice(Section):
    """A run of `edgedistill bench`."""

    when: str
    """UTC, ISO 8601."""
    where: str
    evidence: Evidence
    parity: Parity
    """Of the golden cases there."""
    latency: Latency
    memory_mib: Memory | None = None


class TextLine(Section):
    """Of a candidate without a task: how it foretells running text, beside the float student."""

    tokens: int
    perplexity: float
    float_perplexity: float
    ratio: float
    ratio_ci_low: float
    ratio_ci_high: float
    kl_mean: float
    """Nats per token, over all tokens of the text."""
    kl_p99: float
    same_top1: float
    ratio_max: float
    kl_mean_max: float
    problems: tuple[str, ...] = ()
    """What it does not keep."""


class Uniform(Section):
    """One of llama.cpp's own mixtures, made to be measured beside a mix."""

    quant: str
    bytes: int
    bits_per_weight: float
    kl: float


class Fitted(Section):
    """A mix of types for a size: KL from the float file in nats per answer token, on rows kept from its making."""

    expected_kl: float
    """The sum of what each matrix costs alone."""
    kl: float
    positions: int
    uniform: Uniform | None = None
    """The better of llama.cpp's own mixtures that take no more room; null where all are larger."""


class CandidateLine(Section):
    """One exported file, with everything that was found out about it."""

    format: str
    quant: str
    file: str
    bytes: int
    sha256: str
    tensor_types: dict[str, int]
    bits_per_weight: float
    fitted: Fitted | None = None
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    text: TextLine | None = None
    kl_mean: float | None = None
    kl_p99: float | None = None
    same_top1: float | None = None
    kl_positions: int | None = None
    """Answer tokens of held-out rows that KL and top token are taken at."""
    lm_eval: dict[str, PublicTask] = {}
    latency: Latency | None = None
    memory_mib: Memory | None = None
    chosen: bool = False
    rejected_because: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.format} {self.quant}"


class BudgetLine(Section):
    """A limit and what became of it, for the chosen candidate."""

    name: str
    limit: float
    value: float | None = None
    unit: str
    verdict: Verdict
    evidence: str
    """`measured`, `emulated` or `predicted`, and how: `measured, p50 of 20, local`."""


class BundleLine(Section):
    """What ships."""

    path: str
    bytes: int
    manifest_sha256: str


class Report(Section):
    """One build."""

    schema_: Annotated[str, Field(alias="schema")] = SCHEMA
    recipe: str
    target: str
    build_id: str
    started: str
    """UTC, ISO 8601."""
    seconds: float
    exit_code: int
    stages: tuple[StageLine, ...]
    alignment: Alignment | None = None
    student: StudentLine | None = None
    candidates: tuple[CandidateLine, ...] = ()
    budgets: tuple[BudgetLine, ...] = ()
    benchmark: OnDevice | None = None
    """The run that the chosen candidate's figures are of."""
    elsewhere: OnDevice | None = None
    """A later one under an emulator or on another device, or a quick one after a full one: it changes no figure."""
    bundle: BundleLine | None = None

    @property
    def chosen(self) -> CandidateLine | None:
        return next((candidate for candidate in self.candidates if candidate.chosen), None)

    def count(self, verdict: Verdict) -> int:
        return sum(budget.verdict == verdict for budget in self.budgets)
