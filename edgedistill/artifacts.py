"""What stages hand on: frozen dataclasses around folders, with typed rows. mypy checks the wiring in build.py.

Rows are JSON Lines on disk. Reading is lazy: in dry mode the folder need not exist.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill.errors import IntegrityError
from edgedistill.files import read_json, read_rows, sha256_of_all
from edgedistill.models import Model


@dataclass(frozen=True)
class Artifact:
    """A stage's folder. `key` names everything that went into it."""

    path: Path
    key: str = ""
    """Set by the store; a stage that returns `Drafts(out)` does not know it."""

    def identity(self) -> dict[str, str]:
        return {"artifact": self.key}

    @property
    def summary(self) -> str:
        """What the terminal says beside the stage, e.g. `1,840 pairs from 5,000 drafts`."""
        return str(self.counts().get("summary", ""))

    def counts(self) -> dict[str, Any]:
        """counts.json: `rows`, `summary`, and the stage's own counts."""
        counts: dict[str, Any] = read_json(self.path / "counts.json")
        return counts


@dataclass(frozen=True)
class Draft:
    """A question with one of its rationales, written by the unaligned teacher."""

    id: str
    """`<task>/<question number>/<style>`"""
    task: str
    question: str
    answer: str
    """The target that the teacher gave with the question."""
    style: str
    rationale: str


@dataclass(frozen=True)
class Drafts(Artifact):
    """drafts.jsonl, and rejected.jsonl with a reason for each answer that was not usable."""

    def rows(self) -> Iterator[Draft]:
        return (Draft(**row) for row in read_rows(self.path / "drafts.jsonl"))


@dataclass(frozen=True)
class Score:
    """How much a draft helps the student."""

    draft_id: str
    task: str
    score: float
    """0-1, the mean of the credits; where not all was asked, an estimate of what that would be."""
    hits: str = ""
    """One `0` or `1` per exam item, in the order of exam.jsonl; another letter where the item was not asked. Empty
    where the signal knows no right and wrong."""
    values: Sequence[float | None] = ()
    """What the signal measured per exam item, where that is not a hit: natural logarithm of the item's credit, None
    where the item was not asked."""
    answered: int = 0
    """Exam items that the score rests on; `prefer` sets it, and `error`."""
    error: float | None = None
    """Standard error of `score`, with what an estimate adds to it."""

    @property
    def credits(self) -> list[float | None]:
        """Per exam item 0-1, None where it was not asked."""
        if self.values:
            return [None if value is None else math.exp(value) for value in self.values]
        return [float(hit) if hit in "01" else None for hit in self.hits]

    @property
    def standard_error(self) -> float:
        """Of the mean of the asked items' credits, as a sample of items like these; infinite for fewer than two."""
        asked = [credit for credit in self.credits if credit is not None]
        if len(asked) < 2:
            return math.inf
        return math.sqrt(statistics.variance(asked) / len(asked))


@dataclass(frozen=True)
class Pair:
    """What DPO learns from."""

    task: str
    level: str
    """`question` or `rationale`"""
    prompt: str
    """User message."""
    chosen: str
    rejected: str
    margin: float
    """Difference of the two scores, 0-1."""
    label: str = "preferred"
    """`preferred`, or `equal` where the exam cannot tell the two apart: DPO then draws them together."""
    spread: float | None = None
    """Standard deviation of `margin` over resampled exams (strength.py)."""
    doubt: float = 0.0
    """Share of the resampled exams in which the order turns, 0-1."""
    strength: str = "ignore"
    """What DPO does with the last two: `ignore`, `margin`, `smooth`."""


@dataclass(frozen=True)
class Preferences(Artifact):
    """exam.jsonl (task, id), scores.jsonl, pairs.jsonl; counts.json has the dropped pairs by reason."""

    def scores(self) -> Iterator[Score]:
        return (Score(**row) for row in read_rows(self.path / "scores.jsonl"))

    def pairs(self) -> Iterator[Pair]:
        return (Pair(**row) for row in read_rows(self.path / "pairs.jsonl"))


@dataclass(frozen=True)
class Gain:
    """What fine-tuning on a few drafts did for the student."""

    task: str
    drafts: tuple[str, ...]
    """Their ids."""
    accuracy: float
    """Rise of the share of held-out validation items that the student gets right."""
    log_prob: float
    """Rise of the mean log-probability per token of their right answers, in nats."""


@dataclass(frozen=True)
class Gains(Artifact):
    """gains.jsonl, one row per group of drafts."""

    def rows(self) -> Iterator[Gain]:
        return (Gain(**{**row, "drafts": tuple(row["drafts"])}) for row in read_rows(self.path / "gains.jsonl"))


@dataclass(frozen=True)
class Trained(Artifact):
    """model/ in Hugging Face layout, and curve.jsonl: step, loss and what else the trainer logs."""

    def model(self, base: Model) -> Model:
        """The trained model; engine and licence are those of the base it was trained from."""
        return replace(base, path=self.path / "model", key=self.key)

    def curve(self) -> Iterator[dict[str, Any]]:
        return read_rows(self.path / "curve.jsonl")


@dataclass(frozen=True)
class Teacher(Trained):
    """The aligned teacher, adapter merged."""


@dataclass(frozen=True)
class Student(Trained):
    """The tuned student."""


@dataclass(frozen=True)
class TailoredRow:
    """One training example: the student learns `rationale`, given the plain prompt of `question`."""

    id: str
    task: str
    question: str
    answer: str
    rationale: str


@dataclass(frozen=True)
class Tailored(Artifact):
    """rows.jsonl; counts.json has the duplicates removed, by what they equal."""

    def rows(self) -> Iterator[TailoredRow]:
        return (TailoredRow(**row) for row in read_rows(self.path / "rows.jsonl"))


@dataclass(frozen=True)
class Calibration(Artifact):
    """imatrix.gguf; rows.jsonl with the token ids that it was taken on and those that were kept from it; and, where a
    candidate is fitted to a size, sensitivity.jsonl: what each matrix costs in fewer bits (mix.py)."""

    @property
    def imatrix(self) -> Path:
        return self.path / "imatrix.gguf"

    def part(self, name: str) -> Iterator[tuple[list[int], int]]:
        """Token ids and where the answer begins, of `importance`, `sensitivity` or `held_out`."""
        rows = read_rows(self.path / "rows.jsonl")
        return ((row["ids"], row["begin"]) for row in rows if row["part"] == name)

    def sensitivity(self) -> list[dict[str, Any]]:
        """Empty where it was not measured."""
        path = self.path / "sensitivity.jsonl"
        return list(read_rows(path)) if path.is_file() else []


@dataclass(frozen=True)
class Hints(Artifact):
    """hints/NNNN.safetensors: a teacher's likeliest tokens at each place of the rows' answers (ml/hint_shards.py).
    counts.json: `is_text_only` where teacher and student do not share a vocabulary, and there are none."""

    @property
    def folder(self) -> Path:
        return self.path / "hints"


@dataclass(frozen=True)
class GradedAnswer:
    """What a student made of one test item."""

    task: str
    id: str
    shots: int
    """Solved examples that it was shown."""
    right: bool
    has_format: bool
    """The answer can be read at all."""
    given: str | None
    """Content of `<ans>…</ans>`."""


@dataclass(frozen=True)
class Graded(Artifact):
    """graded.jsonl, in the order of tasks, shots and items; the whole answers are in shards/."""

    def rows(self) -> Iterator[GradedAnswer]:
        return (GradedAnswer(**row) for row in read_rows(self.path / "graded.jsonl"))


@dataclass(frozen=True)
class Candidate:
    """One exported file, or folder, with its format and quantization."""

    format: str
    """`gguf`, `onnx_genai` or `onnx`: what the runtime must be able to read."""
    quant: str
    """As the format names it: F16, Q8_0, Q4_K_M …"""
    file: str
    """Relative to the artifact's folder; itself a folder where the format has several files."""
    bytes: int
    sha256: str
    """Of a folder: over the names and hashes of its files (files.sha256_of_all)."""
    tensor_types: dict[str, int]
    """Read back from the file: type -> number of tensors."""
    bits_per_weight: float
    parameters: int
    """Counted in the file."""
    read_bytes: int
    """Bytes of tensors that one decoded token reads: all, but for an untied input embedding."""
    fitted: dict[str, Any] | None = None
    """Of a mix: its expected and its measured KL, beside those of llama.cpp's own mixture of its size."""
    ships: bool = True
    """False for a float file that the recipe does not list: the others were made from it, so it is checked too."""

    @property
    def name(self) -> str:
        """Of files about it, among all candidates."""
        return f"{self.format}-{self.quant}"

    def description(self) -> dict[str, Any]:
        """What the report says of the file itself."""
        return {key: getattr(self, key) for key in _DESCRIPTION}


_DESCRIPTION = ("format", "quant", "file", "bytes", "sha256", "tensor_types", "bits_per_weight", "fitted")


@dataclass(frozen=True)
class Candidates(Artifact):
    """The exported files, and candidates.jsonl that describes them."""

    @property
    def are_listed(self) -> bool:
        """False while this is a plan, and nothing was exported."""
        return (self.path / "candidates.jsonl").is_file()

    def rows(self) -> Iterator[Candidate]:
        return (candidate for candidate in self._all() if candidate.ships)

    def sources(self) -> Iterator[Candidate]:
        """The float files that are no candidates themselves."""
        return (candidate for candidate in self._all() if not candidate.ships)

    def _all(self) -> Iterator[Candidate]:
        return (Candidate(**row) for row in read_rows(self.path / "candidates.jsonl"))

    def file(self, candidate: Candidate) -> Path:
        return self.path / candidate.file

    def whole_file(self, candidate: Candidate) -> Path:
        """The file, or folder, after a look at its hash. Raises IntegrityError when it is not what was exported."""
        path = self.file(candidate)
        found = sha256_of_all(path) if path.exists() else "no such file"
        if found != candidate.sha256:
            raise IntegrityError(
                f"{path} was damaged or changed after it was exported: sha256 {found}, expected {candidate.sha256}",
                "`--fresh package` exports it again",
            )
        return path


@dataclass(frozen=True)
class Evaluations(Artifact):
    """evaluations.json: `student` as in the report's schema, `candidates` by name, `reference` with what the float
    student is like; golden.jsonl; answers/<name>.jsonl with every graded answer of the base student, the float student
    and each candidate; parity/<name>.jsonl."""

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.path / "evaluations.json")
        return found

    @property
    def golden(self) -> Path:
        return self.path / "golden.jsonl"


@dataclass(frozen=True)
class Measurements(Artifact):
    """measurements.json: `student`, `candidates[]` and `budgets[]` as in the report's schema; golden.jsonl."""

    def read(self) -> dict[str, Any]:
        measured: dict[str, Any] = read_json(self.path / "measurements.json")
        return measured

    @property
    def golden(self) -> Path:
        return self.path / "golden.jsonl"


@dataclass(frozen=True)
class Bundle(Artifact):
    """bundle/ is the folder that ships; its manifest.json lists every file of it (bundle_manifest.py)."""

    @property
    def folder(self) -> Path:
        return self.path / "bundle"

    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        return manifest
