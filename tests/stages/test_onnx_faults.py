"""The faults that exports are known for, in ONNX folders: nothing ships, the exit code is 4, the message names it.

The folders are real ones of the quickstart's student, which is trained, so that four bits keep to the product's limits.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import target, yaml_file
from edgedistill.artifacts import Candidate, Candidates
from edgedistill.errors import NothingToShip
from edgedistill.exporters import onnx_genai
from edgedistill.files import read_json, sha256_of_all, write_json, write_rows
from edgedistill.models import Model
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig

STUDENT = yaml_file.shipped("recipes") / "quickstart" / "models" / "student"
CONFIG = ValidateConfig(max_tokens=6, context=512)
RPI5 = target.load("rpi5")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, tuple[Path, Candidate]]:
    """Type -> folder and candidate."""
    out = tmp_path_factory.mktemp("onnx")
    grid = {"block_size": (32,), "algorithm": ("k_quant",), "accuracy_level": (4,), "head": ("same",)}
    config = onnx_genai.Config(quants=("F32", "INT4"), **grid, search_rows=1)
    rows = [("Turn off the light", "<ans>yes</ans>")]
    found = onnx_genai.export(out, Model(STUDENT, "student"), config, rows)
    return {candidate.quant[:4]: (out / candidate.file, candidate) for candidate in found}


@pytest.fixture
def validated(judged, made, counting_task, tmp_path, monkeypatch) -> Callable[..., dict[str, Any]]:
    """(change, student=…, kind=…) -> the line of one candidate, whose folder was changed before it was listed"""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def validate(
        change: Callable[[Path], object] = lambda folder: None, student: Path = STUDENT, kind: str = "F32"
    ) -> dict[str, Any]:
        source, candidate = made[kind]
        folder = shutil.copytree(source, tmp_path / "candidates" / candidate.file)
        change(folder)
        line = asdict(replace(candidate, sha256=sha256_of_all(folder)))
        write_rows(folder.parent / "candidates.jsonl", [line])
        model, out = Model(student, "student"), tmp_path / "out"
        out.mkdir()
        found = judged(
            out, Candidates(folder.parent, "one"), model, model, [counting_task], None, RPI5, Budgets(), CONFIG
        )
        return dict(found.read()["candidates"][0])

    return validate


@pytest.mark.parametrize("kind", ["F32", "INT4"])
def test_a_healthy_folder_passes_all_24_cases_within_the_products_limits(validated, kind):
    parity = validated(kind=kind)["parity"]
    assert parity["passed"]
    assert parity["cases"] == parity["prompt_text"] == parity["token_ids"] == 24
    assert parity["answer_kl_mean"] < (0.0001 if kind == "F32" else 0.1)


def caught(validated: Callable[..., Any], *arguments: Any, **settings: Any) -> str:
    with pytest.raises(NothingToShip) as refused:
        validated(*arguments, **settings)
    assert refused.value.exit_code == 4
    return refused.value.problem


def with_template(template: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "chat_template.jinja").write_text(template)


def with_tokenizer(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = read_json(folder / "tokenizer.json")
        change(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return write


def test_a_doubled_begin_token(validated):
    template = "<|begin|>" + (STUDENT / "chat_template.jinja").read_text()
    assert "the begin token 1 is doubled" in caught(validated, with_template(template))


def test_a_missing_end_token(validated):
    """The folder says that answers end with token 0, which pads."""

    def change(folder: Path) -> None:
        config = read_json(folder / "genai_config.json")
        config["model"]["eos_token_id"] = 0
        write_json(folder / "genai_config.json", config)

    assert "the end token 2 '<|end|>' is missing" in caught(validated, change)


def test_a_lost_added_token(validated):
    """`<|user|>` is left out, as an exporter does that writes the vocabulary alone."""

    def change(content: dict[str, Any]) -> None:
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] != 4]
        content["model"]["vocab"].pop("<|user|>", None)

    assert "the added token '<|user|>' is lost" in caught(validated, with_tokenizer(change))


def test_a_shuffled_vocabulary(validated):
    """All tokens but the added ones in the opposite order."""

    def change(content: dict[str, Any]) -> None:
        added = {token["id"] for token in content["added_tokens"]}
        plain = {token: number for token, number in content["model"]["vocab"].items() if number not in added}
        turned = dict(zip(plain, reversed(plain.values()), strict=True))
        content["model"]["vocab"] |= turned

    assert "the vocabulary is in another order" in caught(validated, with_tokenizer(change))


def test_a_wrong_template(validated):
    template = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
    said = caught(validated, with_template(template))
    assert "prompt text differs at character 0" in said and "the chat template in the file is not the student's" in said


@pytest.mark.parametrize("kind", ["F32", "INT4"])
def test_weights_of_another_model(validated, kind, tmp_path):
    """The student's own, with the layers in another order."""
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(STUDENT, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    turned = {name.replace(".1.", ".X.").replace(".2.", ".1.").replace(".X.", ".2."): t for name, t in tensors.items()}
    assert turned.keys() == tensors.keys()
    save_file(turned, other / "model.safetensors", {"format": "pt"})
    said = caught(validated, student=other, kind=kind)
    assert "nats from the float student's" in said and "weights" in said


def test_a_graph_that_the_runtime_cannot_load(validated):
    """Half of it: the hash is right, since the exporter listed it like this."""

    def change(folder: Path) -> None:
        graph = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(graph[: len(graph) // 2])

    assert "onnxruntime-genai cannot load" in caught(validated, change)
