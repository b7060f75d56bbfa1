"""Small pretrained models through `build --student`: what their reference in float32 says, the float files say too.

The references hold greedy continuations, logits and perplexity that transformers computed from the original files.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from edgedistill.engine import open_file
from edgedistill.files import sha256_of
from edgedistill.toolchain import llama_cpp, optimum

pytestmark = pytest.mark.slow
STORIES = "corpora/tinystories-sample.jsonl.gz"
PACKAGE = "{exporter: gguf, quants: [F16, Q8_0]}, {exporter: onnx_genai, quants: [F32]}"
OPTIMUM = ", {exporter: onnx_optimum, quants: [F32]}"
FLOATS = {"gguf": "F16", "onnx_genai": "F32", "onnx": "F32"}
CANNOT_RUN = {("stories260k", "onnx_genai"): "head_size shall be a multiple of 16"}
"""What a runtime says of a model that it has no code for: rejected alone, the others ship."""


def has_optimum() -> bool:
    return llama_cpp.is_complete(optimum.folder())


@pytest.fixture(scope="module", params=["stories260k", "babyllama-tok105"])
def built(request, shared, tmp_path_factory) -> tuple[Path, Path, dict[str, Any]]:
    """(the original folder, the work folder, the report)"""
    folder = shared / "models" / request.param
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    out = tmp_path_factory.mktemp(request.param)
    before = {path.name: sha256_of(path) for path in folder.iterdir()}
    command = [sys.executable, "-m", "edgedistill", "build", "--target", "rpi5", "--student", str(folder), "--json"]
    command += ["--chat-template", "plain", "--runs", str(out / "runs"), "--dist", str(out / "dist")]
    command += ["--set", f"package=[{PACKAGE}{OPTIMUM if has_optimum() else ''}]"]
    command += ["--set", "validate.max_tokens=16", "--set", "validate.context=256", "--set", "text.tokens=512"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name: sha256_of(path) for path in folder.iterdir()} == before, "the user's own files were touched"
    return folder, out, json.loads(done.stdout)


def test_every_candidate_that_can_run_reproduces_the_student_and_one_ships(built):
    folder, out, report = built
    lines = report["candidates"]
    assert {line["format"] for line in lines} == ({*FLOATS} if has_optimum() else {"gguf", "onnx_genai"})
    for line in lines:
        reason = CANNOT_RUN.get((folder.name, line["format"]), "")
        assert line["parity"]["passed"] is not bool(reason), line["rejected_because"]
        assert not reason or reason in line["rejected_because"][0]
        assert line["parity"]["cases"] == line["parity"]["token_ids"] == 24
    assert sum(line["chosen"] for line in lines) == 1
    assert (out / "dist" / f"{folder.name}-rpi5" / "golden.jsonl").is_file()


def test_the_original_tokenizer_is_in_every_onnx_folder_byte_for_byte(built):
    folder, out, report = built
    (package,) = (path for path in (out / "runs" / "package").iterdir() if path.is_dir())
    checked = [line["file"] for line in report["candidates"] if line["format"] != "gguf"]
    assert checked
    for name in checked:
        assert sha256_of(package / name / "tokenizer.json") == sha256_of(folder / "tokenizer.json")


@pytest.fixture(scope="module", params=["gguf", "onnx_genai", "onnx"])
def real(request, built) -> Iterator[Any]:
    """(engine with the float file of a format, reference, context, the original folder)"""
    folder, out, report = built
    if request.param == "onnx" and not has_optimum():
        pytest.skip("Optimum's environment is not installed: `edgedistill toolchain install optimum`, about 1 GB")
    if reason := CANNOT_RUN.get((folder.name, request.param)):
        pytest.skip(f"the runtime cannot run this model: {reason}")
    wanted = request.param, FLOATS[request.param]
    (file,) = (line["file"] for line in report["candidates"] if (line["format"], line["quant"]) == wanted)
    (package,) = (path for path in (out / "runs" / "package").iterdir() if path.is_dir())
    context = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    with open_file(package / file, request.param, context=context) as engine:
        yield engine, json.loads((folder / "reference.json").read_text()), context, folder


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_prompts_have_the_same_token_ids_and_greedy_answers(real):
    engine, reference, *_ = real
    for case in reference["greedy"]:
        assert engine.token_ids(said(case["prompt"])) == case["prompt_ids"]
        (answer,) = engine.answer_ids([said(case["prompt"])], max_tokens=len(case["new_ids"]))
        assert answer == case["new_ids"], case["prompt"]
        # onnxruntime-genai keeps the space that SentencePiece writes before a first word.
        assert engine.text_of([*case["prompt_ids"][1:], *answer]).strip(" ") == case["text"].strip(" ")


def test_logits_are_the_same_but_for_rounding(real):
    engine, reference, *_ = real
    expected = reference["last_logits"]
    found = engine.first_token_log_probs([said(expected["prompt"])])[0]
    for token, logit in expected["top10"]:
        assert found[token] == pytest.approx(logit - expected["logsumexp"], abs=0.02), token


def test_perplexity_is_the_same_but_for_rounding(real, shared):
    engine, reference, context, folder = real
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (expected,) = reference["perplexity"].values()
    with gzip.open(shared / "data" / STORIES, "rt", encoding="utf-8") as file:
        stories = [json.loads(line)["text"] for line in file][: expected["stories"]]
    total, count = 0.0, 0
    for story in stories:
        ids = tokenizer.encode(story).ids[:context]
        log_probs = engine.next_log_probs(ids)[:-1]
        total -= float(log_probs[np.arange(len(ids) - 1), ids[1:]].sum(dtype=np.float64))
        count += len(ids) - 1
    assert count == expected["tokens"]
    assert total / count == pytest.approx(expected["nll_per_token"], abs=0.001)
