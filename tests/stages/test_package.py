from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Candidate, Candidates, Tailored
from edgedistill.errors import UsageError
from edgedistill.exporters import gguf, onnx_genai
from edgedistill.files import sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.sections import PackageConfig
from edgedistill.stages.package import package
from edgedistill.store import Store
from edgedistill.target import Target
from edgedistill.task import Task

TARGET = Target(name="board", title="Board", soc="chip", triple="native", cpu="native")


def test_candidates_are_listed_as_the_files_are(tiny_qwen2, tmp_path):
    store = Store(tmp_path / "runs")
    made = store.run(package, Model(tiny_qwen2, "key"), TARGET, (gguf.Config(quants=("Q8_0", "F16")),), None, [])
    rows = list(made.rows())
    assert [row.quant for row in rows] == ["Q8_0", "F16"]
    assert [sha256_of(made.file(row)) for row in rows] == [row.sha256 for row in rows]
    assert made.counts()["rows"] == 2 and made.summary.startswith("2 candidates, ")
    names = {path.name for path in made.path.iterdir()}
    assert names == {"model-f16.gguf", "model-q8_0.gguf", "candidates.jsonl", "counts.json", "manifest.json"}


def test_a_format_without_a_runtime_on_the_target_is_refused_before_any_work(tmp_path):
    target = TARGET.model_copy(update={"formats": ("onnx",)})
    with pytest.raises(UsageError, match="target `board` has no runtime for gguf; it has: onnx"):
        package.function(tmp_path, Model(tmp_path, "key"), target, (gguf.Config(),), None, [])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def stand_ins(monkeypatch) -> list[list[tuple[str, str]]]:
    """Exporters that write nothing (their own tests run them); returns the rows that each was given."""
    given: list[list[tuple[str, str]]] = []

    def exports(*candidates: Candidate) -> Any:
        return lambda out, student, target, config, rows, **more: given.append(rows) or list(candidates)

    monkeypatch.setattr("edgedistill.ml.soundness.check", lambda student: None)
    monkeypatch.setattr(
        gguf, "export", exports(candidate("gguf", "F16", 5_400_000), candidate("gguf", "Q4_0", 1_640_000))
    )
    monkeypatch.setattr(onnx_genai, "export", exports(candidate("onnx_genai", "INT8", 6_200_000)))
    return given


def candidate(kind: str, quant: str, size: int) -> Candidate:
    return Candidate(kind, quant, f"{kind}-{quant}", size, "0" * 64, {"F32": 1}, 8.0, 1, 1)


def run(out: Path, configs: tuple[PackageConfig, ...], tailored: Tailored | None, tasks: list[Task]) -> Candidates:
    target = TARGET.model_copy(update={"formats": ("gguf", "onnx_genai")})
    return package.function(out, Model(out, "key"), target, configs, tailored, tasks)


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


def test_one_format_without_a_runtime_is_enough_to_refuse(tmp_path, stand_ins):
    configs = gguf.Config(), onnx_genai.Config()
    with pytest.raises(UsageError, match="target `board` has no runtime for onnx_genai; it has: gguf"):
        package.function(tmp_path, Model(tmp_path, "key"), TARGET, configs, None, [])
    assert not stand_ins
