from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Candidate, Candidates, Tailored
from edgedistill.exporters import gguf, onnx_genai
from edgedistill.files import sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.sections import PackageConfig
from edgedistill.stages.package import package
from edgedistill.store import Store
from edgedistill.task import Task


def test_candidates_are_listed_as_the_files_are(tiny_qwen2, tmp_path):
    store = Store(tmp_path / "runs")
    made = store.run(package, Model(tiny_qwen2, "key"), (gguf.Config(quants=("Q8_0", "F16")),), None, [])
    rows = list(made.rows())
    assert [row.quant for row in rows] == ["Q8_0", "F16"]
    assert [sha256_of(made.file(row)) for row in rows] == [row.sha256 for row in rows]
    assert made.counts()["rows"] == 2 and made.summary.startswith("2 candidates, ")
    names = {path.name for path in made.path.iterdir()}
    assert names == {"model-f16.gguf", "model-q8_0.gguf", "candidates.jsonl", "counts.json", "manifest.json"}


@pytest.fixture
def stand_ins(monkeypatch) -> list[list[tuple[str, str]]]:
    """Exporters that write nothing (their own tests run them); returns the rows that each was given."""
    given: list[list[tuple[str, str]]] = []

    def exports(*candidates: Candidate) -> Any:
        return lambda out, student, config, rows, **more: given.append(rows) or list(candidates)

    monkeypatch.setattr("edgedistill.ml.soundness.check", lambda student: None)
    monkeypatch.setattr(
        gguf, "export", exports(candidate("gguf", "F16", 5_400_000), candidate("gguf", "Q4_0", 1_640_000))
    )
    monkeypatch.setattr(onnx_genai, "export", exports(candidate("onnx_genai", "INT8", 6_200_000)))
    return given


def candidate(kind: str, quant: str, size: int) -> Candidate:
    return Candidate(kind, quant, f"{kind}-{quant}", size, "0" * 64, {"F32": 1}, 8.0, 1, 1)


def run(out: Path, configs: tuple[PackageConfig, ...], tailored: Tailored | None, tasks: list[Task]) -> Candidates:
    return package.function(out, Model(out, "key"), configs, tailored, tasks)


def test_the_summary_names_the_smallest_and_the_largest(tmp_path, stand_ins):
    assert run(tmp_path, (gguf.Config(),), None, []).summary == "2 candidates, 1.6 MB (Q4_0) to 5.4 MB (F16)"


def test_exporters_follow_each_other_and_measure_on_what_the_student_learned(tmp_path, stand_ins, counting_task):
    tailored = Tailored(tmp_path / "tailored")
    row = {"id": "q1", "task": counting_task.name, "question": "two", "answer": "2", "rationale": "<ans>2</ans>"}
    write_rows(tailored.path / "rows.jsonl", [row])
    made = run(tmp_path, (gguf.Config(), onnx_genai.Config()), tailored, [counting_task])
    assert [(row.format, row.quant) for row in made.rows()] == [
        ("gguf", "F16"),
        ("gguf", "Q4_0"),
        ("onnx_genai", "INT8"),
    ]
    assert stand_ins == [[(plain_prompt("Count.", "two"), "<ans>2</ans>")]] * 2
