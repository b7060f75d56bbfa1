"""Small pretrained models as GGUF: what their reference in float32 says, the file says too.

The references hold greedy continuations, logits and perplexity that transformers computed from the original files.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from edgedistill import models
from edgedistill.engine import open_file
from edgedistill.exporters import gguf
from edgedistill.sections import ModelConfig
from edgedistill.target import Target

pytestmark = pytest.mark.slow
TARGET = Target(name="t", title="t", soc="t", triple="native", cpu="native")
STORIES = "corpora/tinystories-sample.jsonl.gz"


@pytest.fixture(scope="module", params=["stories260k", "babyllama-tok105"])
def real(request, shared, tmp_path_factory) -> Any:
    """(engine, reference, context, the original folder)"""
    folder = shared / "models" / request.param
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    out = tmp_path_factory.mktemp(request.param)
    model = models.resolve(ModelConfig(model=str(folder), chat_template="plain"), out, "student")
    (candidate,) = gguf.export(out, model, TARGET, gguf.Config(quants=("F16",)))
    context = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    with open_file(out / candidate.file, "gguf", context=context) as engine:
        yield engine, json.loads((folder / "reference.json").read_text()), context, folder


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_prompts_have_the_same_token_ids_and_greedy_answers(real):
    engine, reference, *_ = real
    for case in reference["greedy"]:
        assert engine.token_ids(said(case["prompt"])) == case["prompt_ids"]
        (answer,) = engine.answer_ids([said(case["prompt"])], max_tokens=len(case["new_ids"]))
        assert answer == case["new_ids"], case["prompt"]
        assert engine.text_of([*case["prompt_ids"][1:], *answer]) == case["text"]


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


def test_the_original_files_are_as_they_were(shared):
    """Byte for byte: what is exported is a folder of links to them."""
    folder = shared / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    model = models.resolve(ModelConfig(model=str(folder), chat_template="plain"), Path(), "student")
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        assert (model.path / name).read_bytes() == (folder / name).read_bytes()
