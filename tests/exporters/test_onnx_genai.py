"""Real exports of a tiny model by onnxruntime-genai's builder, run by its runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgedistill import golden, onnx_file, onnx_search, parity
from edgedistill.artifacts import Candidate
from edgedistill.engine import open_engine, open_file, user
from edgedistill.errors import IntegrityError, StageFailed, UsageError
from edgedistill.exporters import onnx_genai
from edgedistill.exporters.onnx_genai import Config, Variant
from edgedistill.files import read_rows, sha256_of_all
from edgedistill.models import Model
from edgedistill.toolchain import subprocesses

CONFIG = Config(quants=("F32", "F16", "INT4"), block_size=(32,), head=("same",), search_rows=2)
ROWS = [("Turn off the light", "<ans>yes</ans>"), ("what is the weather", "sun"), ("Is it true", "no")]
QUESTIONS = [
    f"{line} {n}" for n in range(4) for line in ("Turn off the light", "Is it true that", "what is the weather")
]


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory) -> tuple[Path, list[Candidate]]:
    out = tmp_path_factory.mktemp("onnx")
    return out, onnx_genai.export(out, Model(tiny_llama, "tiny"), CONFIG, ROWS)


@pytest.fixture(scope="module")
def cases(tiny_llama) -> list[golden.GoldenCase]:
    with open_engine(Model(tiny_llama, "tiny")) as student:
        return golden.make(golden.conversations(QUESTIONS, 8), student, count=8, max_tokens=8, context=512)


def test_each_accuracy_level_gets_the_best_of_the_combinations(made):
    out, candidates = made
    tried = list(read_rows(out / "onnx_genai-search.jsonl"))
    assert [(row["algorithm"], row["accuracy_level"]) for row in tried] == [
        ("rtn", 1), ("rtn", 4), ("k_quant", 1), ("k_quant", 4)
    ]  # fmt: skip
    assert all(row["kl"] > 0 and row["bits_per_weight"] < 8 for row in tried)
    kept = [row for row in tried if row["kept"]]
    assert [row["accuracy_level"] for row in sorted(kept, key=lambda row: row["accuracy_level"])] == [1, 4]
    names = [Variant(**{key: row[key] for key in vars(Variant(""))}).name for row in kept]
    assert [candidate.quant for candidate in candidates] == ["F32", "F16", *names]
    assert not (out / "scratch").exists() and not (out / "search").exists()


def test_candidates_are_what_the_folders_hold(made, tiny_llama):
    """256 x 320 embedding and head; 2 layers of 2 x 256 x 256 + 2 x 256 x 128 attention, 3 x 256 x 512 MLP, 2 norms."""
    parameters = 2 * 256 * 320 + 2 * (2 * 65_536 + 2 * 32_768 + 3 * 131_072 + 2 * 256) + 256
    out, (float32, float16, *integer) = made
    assert float32.parameters == float16.parameters == parameters
    assert float32.bits_per_weight == 32 and float16.bits_per_weight == 16
    assert float32.read_bytes == 4 * (parameters - 256 * 320), "of an untied embedding one row is read"
    for candidate in integer:
        assert candidate.tensor_types["INT4"] == 11, "q, k and v as one, o, gate, up, down in two layers; head"
    for candidate in made[1]:
        folder = out / candidate.file
        assert candidate.sha256 == sha256_of_all(folder)
        assert candidate.bytes == sum(file.stat().st_size for file in folder.iterdir())
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            assert (folder / name).read_bytes() == (tiny_llama / name).read_bytes(), f"{name} is not the model's own"


def test_every_candidate_reproduces_the_student_or_says_why_not(made, cases):
    """The model's heads share keys, and the runtime cannot run such a graph in 16-bit floats on a CPU."""
    out, (float32, float16, *integer) = made
    with open_file(out / float16.file, "onnx_genai", context=512) as runtime:
        found = parity.check(cases, runtime, "F16", 2.0, 8)
    assert not found.passed and "onnxruntime-genai cannot run onnx_genai-f16" in found.first_difference
    for candidate in (float32, *integer):
        with open_file(out / candidate.file, "onnx_genai", context=512) as runtime:
            # Random weights: four bits move them further than a trained model's (tests/stages/test_onnx_faults.py).
            found = parity.check(cases, runtime, parity.coarsest(candidate.tensor_types), 2.0, 8)
        assert found.first_difference == "", candidate.quant
        assert found.line()["token_ids"] == found.line()["prompt_text"] == len(cases)


def test_weights_of_another_model_are_named(made, other_llama):
    with open_engine(Model(other_llama, "other")) as student:
        cases = golden.make(golden.conversations(QUESTIONS, 8), student, count=8, max_tokens=8, context=512)
    with open_file(made[0] / "onnx_genai-f32", "onnx_genai", context=512) as runtime:
        found = parity.check(cases, runtime, "F32", 0.5, 8)
    assert "the weights in the file are not the student's" in found.first_difference


def test_likelihoods_are_those_of_torch(made, tiny_llama):
    asked, answers = [user("Is it true"), user("Is it"), user("Is it true")], ["<ans>yes</ans>", "no", "yes"]
    with open_engine(Model(tiny_llama, "tiny")) as student:
        expected = student.answer_log_probs(asked, answers)
    with open_file(made[0] / "onnx_genai-f32", "onnx_genai", context=512) as runtime:
        found = runtime.answer_log_probs(asked, answers)
    assert [len(row) for row in found] == [len(row) for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-3)


def test_a_finished_export_is_taken_as_it_is(made, tiny_llama, tmp_path, monkeypatch):
    out = shutil.copytree(made[0], tmp_path / "again")
    monkeypatch.setattr(subprocesses, "run", lambda *_: pytest.fail("nothing is to be built"))
    assert onnx_genai.export(out, Model(tiny_llama, "tiny"), CONFIG, ROWS) == made[1]


def test_a_damaged_folder_is_named(made, tmp_path):
    folder = shutil.copytree(made[0] / "onnx_genai-f32", tmp_path / "cut")
    data = folder / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="is cut off"):
        onnx_file.read(folder)
    with pytest.raises(UsageError, match="onnxruntime-genai cannot load"):
        open_file(folder, "onnx_genai", context=64)
    (folder / "model.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(UsageError, match="onnxruntime-genai cannot load"):
        open_file(folder, "onnx_genai", context=64)


def test_a_template_that_refuses_is_a_difference(made, cases, tmp_path):
    folder = shutil.copytree(made[0] / "onnx_genai-f32", tmp_path / "refuses")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('not today') }}")
    with open_file(folder, "onnx_genai", context=512) as runtime:
        found = parity.check(cases, runtime, "F32", 0.5, 8)
    assert "refuses the conversation: not today" in found.first_difference


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parameters": 10}, "the builder lost weights"),
        ({"block_size": 128}, "has blocks of 128"),
        ({"accuracy_level": 1}, "at accuracy level 1"),
        ({"type": "F32", "block_size": 0}, "head is F32, another type than was asked for"),
    ],
)
def test_a_file_that_is_not_what_was_asked_for_is_refused(change: dict[str, Any], words: str):
    whole = {"type": "INT4", "parameters": 1000, "bytes": 600, "block_size": 32, "accuracy_level": 4}
    found = onnx_file.OnnxFile({"head": onnx_file.Weight(**{**whole, **change})})
    with pytest.raises(IntegrityError, match=words):
        onnx_genai._check(found, Variant("INT4", "rtn", 32, 4), 1000)


def test_an_architecture_that_the_builder_does_not_know_is_named(tiny_llama, tmp_path):
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["StableLmForCausalLM"]}))
    config = Config(quants=("F32",))
    with pytest.raises(UsageError, match="onnxruntime-genai's builder cannot export this model"):
        onnx_genai.export(tmp_path / "out", Model(model, "odd"), config, ())
    assert not list((tmp_path / "out").iterdir()), "a failed export leaves nothing"


def test_what_was_finished_before_another_export_failed_is_kept(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_genai, "_PRECISIONS", {**onnx_genai._PRECISIONS, "F16": "fp7"})
    config = Config(quants=("F32", "F16"))
    with pytest.raises((UsageError, StageFailed)):
        onnx_genai.export(tmp_path / "out", Model(tiny_llama, "tiny"), config)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["onnx_genai-f32"]


def test_where_all_rows_are_too_long_the_search_asks_its_own_prompts(made):
    """And nothing measured is never taken for perfect."""
    long_ones = [("turn off the light " * 400, "<ans>yes</ans>")] * 3
    found = onnx_search.reference(made[0] / "onnx_genai-f32", "onnx_genai", long_ones)
    assert len(found.rows) == len(onnx_search._PROMPTS)
    integer = next(candidate for candidate in made[1] if candidate.quant.startswith("INT4"))
    assert onnx_search.divergence(made[0] / integer.file, "onnx_genai", found) > 0
