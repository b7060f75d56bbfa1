from __future__ import annotations

import pytest

from edgedistill.artifacts import Candidate
from edgedistill.errors import UsageError
from edgedistill.exporters import gguf
from edgedistill.files import sha256_of
from edgedistill.models import Model
from edgedistill.stages.package import package
from edgedistill.store import Store
from edgedistill.target import Target

TARGET = Target(name="board", title="Board", soc="chip", triple="native", cpu="native")


def test_candidates_are_listed_as_the_files_are(tiny_qwen2, tmp_path):
    store = Store(tmp_path / "runs")
    made = store.run(package, Model(tiny_qwen2, "key"), TARGET, gguf.Config(quants=("Q8_0", "F16")))
    rows = list(made.rows())
    assert [row.quant for row in rows] == ["Q8_0", "F16"]
    assert [sha256_of(made.file(row)) for row in rows] == [row.sha256 for row in rows]
    assert made.counts()["rows"] == 2 and made.summary.startswith("2 candidates, ")
    names = {path.name for path in made.path.iterdir()}
    assert names == {"model-f16.gguf", "model-q8_0.gguf", "candidates.jsonl", "counts.json", "manifest.json"}


def test_a_format_without_a_runtime_on_the_target_is_refused_before_any_work(tmp_path):
    target = TARGET.model_copy(update={"formats": ("onnx",)})
    with pytest.raises(UsageError, match="target `board` has no runtime for gguf; it has: onnx"):
        package.function(tmp_path, Model(tmp_path, "key"), target, gguf.Config())
    assert not list(tmp_path.iterdir())


def test_the_summary_names_the_smallest_and_the_largest(tmp_path, monkeypatch):
    def candidate(quant: str, size: int) -> Candidate:
        return Candidate("gguf", quant, f"{quant}.gguf", size, "0" * 64, {"F32": 1}, 8.0, 1, 1)

    made = [candidate("F16", 5_400_000), candidate("Q4_0", 1_640_000)]
    monkeypatch.setattr(gguf, "export", lambda *given: made)  # the exporter's own tests run it
    assert package.function(tmp_path, Model(tmp_path, "key"), TARGET, gguf.Config()).summary == (
        "2 candidates, 1.6 MB (Q4_0) to 5.4 MB (F16)"
    )
