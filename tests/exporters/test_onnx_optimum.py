"""Optimum's export runs where its environment was made (`edgedistill toolchain install optimum`); the rest always."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgedistill import golden, onnx_file, parity
from edgedistill.engine import open_engine, open_file, user
from edgedistill.errors import IntegrityError, UsageError
from edgedistill.exporters import onnx_optimum
from edgedistill.files import read_json, sha256_of_all
from edgedistill.models import Model
from edgedistill.toolchain import llama_cpp, optimum

QUESTIONS = [f"{line} {n}" for n in range(4) for line in ("Turn off the light", "Is it true", "what is the weather")]


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory) -> Any:
    if not llama_cpp.is_complete(optimum.folder()):
        pytest.skip("Optimum's environment is not installed: `edgedistill toolchain install optimum`, about 1 GB")
    out = tmp_path_factory.mktemp("optimum")
    return out, onnx_optimum.export(out, Model(tiny_llama, "tiny"), onnx_optimum.Config())


@pytest.mark.slow
def test_every_candidate_reproduces_the_student_in_plain_onnx_runtime(made, tiny_llama):
    out, candidates = made
    with open_engine(Model(tiny_llama, "tiny")) as student:
        cases = golden.make(golden.conversations(QUESTIONS, 8), student, count=8, max_tokens=8, context=512)
        asked, answers = [user("Is it true"), user("Is it")], ["<ans>yes</ans>", "no"]
        expected = student.answer_log_probs(asked, answers)
    for candidate in candidates:
        with open_file(out / candidate.file, "onnx", context=512) as runtime:
            found = parity.check(cases, runtime, parity.coarsest(candidate.tensor_types), 0.5, 8)
            assert found.first_difference == "", candidate.quant
            if candidate.quant == "F32":
                for row, other in zip(runtime.answer_log_probs(asked, answers), expected, strict=True):
                    assert row == pytest.approx(other, abs=1e-3)


@pytest.mark.slow
def test_candidates_are_what_the_folders_hold(made, tiny_llama):
    out, candidates = made
    assert [candidate.quant for candidate in candidates] == ["F32", "INT8", "INT8-per_channel"]
    assert "INT8" not in candidates[0].tensor_types
    for candidate in candidates:
        assert candidate.sha256 == sha256_of_all(out / candidate.file)
        assert candidate.parameters >= onnx_file.matrix_parameters_of(tiny_llama)
        assert (out / candidate.file / "tokenizer.json").read_bytes() == (tiny_llama / "tokenizer.json").read_bytes()
        if candidate.quant != "F32":
            assert candidate.tensor_types["INT8"] == 15, "seven matrices a layer, and the head"
            assert candidate.bytes < candidates[0].bytes / 2
    assert not (out / "scratch").exists()


def test_without_the_environment_the_command_that_makes_it_is_named(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UsageError) as caught:
        onnx_optimum.export(tmp_path / "out", Model(tiny_llama, "tiny"), onnx_optimum.Config())
    assert "edgedistill toolchain install optimum" in caught.value.hint
    assert not list((tmp_path / "out").iterdir()), "a failed export leaves nothing"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rope_theta": 500000.0, "rope_type": "default"}, {"rope_theta": 500000.0}),
        (
            {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0},
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        ),
        (
            {
                "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
                "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
            },
            {"rope_theta": 1e6, "rope_local_base_freq": 1e4},
        ),
        ({}, {}),
    ],
)
def test_settings_of_the_rotation_are_written_as_the_older_version_reads_them(given, expected):
    """It would take 10,000 for a theta under a name that it does not know."""
    assert onnx_optimum._rotation(given) == expected


def test_a_tokenizer_class_of_the_newer_version_is_written_as_the_older_one_knows_it(tiny_llama, tmp_path):
    clean = shutil.copytree(tiny_llama, tmp_path / "clean")
    (clean / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend", "eos_token": "<|im_end|>"}')
    older = onnx_optimum._older(clean, tmp_path / "older")
    assert read_json(older / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert read_json(clean / "tokenizer_config.json")["tokenizer_class"] == "TokenizersBackend"


@pytest.mark.parametrize(
    ("weight", "words"),
    [({"type": "F32"}, "INT8: head is F32, INT8 was asked for"), ({"parameters": 10}, "Optimum lost weights")],
)
def test_an_export_that_is_not_what_was_asked_for_is_refused(weight, words, monkeypatch):
    held = {"type": "INT8", "parameters": 1000, "bytes": 1000, **weight}
    monkeypatch.setattr(onnx_file, "read", lambda folder: onnx_file.OnnxFile({"head": onnx_file.Weight(**held)}))
    with pytest.raises(IntegrityError, match=words):
        onnx_optimum._check(Path("nowhere"), "INT8", 1000)
