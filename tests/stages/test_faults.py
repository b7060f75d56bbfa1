"""Every fault that exports are known for, made on purpose: nothing ships, the exit code is 4, the message names it.

The files are real ones of a tiny model, changed in place. Its end token has a name that llama.cpp does not know, since
llama.cpp mends a lost end token where it knows the name.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import gguf_file, target
from edgedistill.artifacts import Candidates
from edgedistill.errors import NothingToShip
from edgedistill.files import sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig

CONFIG = ValidateConfig(max_tokens=6, context=512)
END = b"<|halted|>"
assert len(END) == len(b"<|im_end|>")


@pytest.fixture(scope="module")
def student(tiny_llama, tmp_path_factory) -> Path:
    """tiny_llama with another name for its end token."""
    folder = shutil.copytree(tiny_llama, tmp_path_factory.mktemp("faults") / "student")
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja"):
            path.write_bytes(path.read_bytes().replace(b"<|im_end|>", END))
    return folder


@pytest.fixture(scope="module")
def healthy(tiny_candidates, tmp_path_factory) -> Path:
    """Its file, in 16-bit floats."""
    file = tmp_path_factory.mktemp("faults") / "model.gguf"
    file.write_bytes((tiny_candidates.path / "model-f16.gguf").read_bytes().replace(b"<|im_end|>", END))
    return file


@pytest.fixture
def validated(judged, student, tiny_candidates, counting_task, tmp_path, monkeypatch) -> Callable[..., dict[str, Any]]:
    """(file, student=…, quant=…) -> measurements, of one candidate"""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rpi5 = target.load("rpi5")

    def validate(file: Path, student: Path = student, quant: str = "F16") -> dict[str, Any]:
        folder, out = tmp_path / "candidates", tmp_path / "out"
        for path in (folder, out):
            path.mkdir()
        (folder / file.name).symlink_to(file)
        like = next(candidate for candidate in tiny_candidates.rows() if candidate.quant == quant)
        candidate = replace(like, file=file.name, sha256=sha256_of(file))
        write_rows(folder / "candidates.jsonl", [asdict(candidate)])
        model = Model(student, "student")
        found = judged(out, Candidates(folder, "one"), model, model, [counting_task], None, rpi5, Budgets(), CONFIG)
        return found.read()

    return validate


def test_the_healthy_file_passes_all_24_cases(validated, healthy):
    parity = validated(healthy)["candidates"][0]["parity"]
    assert parity["passed"]
    assert parity["cases"] == parity["prompt_text"] == parity["token_ids"] == 24


def changed(file: Path, key: str, change: Callable[[bytes], bytes], to: Path) -> Path:
    """A copy with other bytes, as many as before, for one value of the metadata."""
    raw = file.read_bytes()
    start, end = gguf_file.read(file).places[key]
    value = change(raw[start:end])
    assert len(value) == end - start and value != raw[start:end]
    to.write_bytes(raw[:start] + value + raw[end:])
    return to


def caught(validated: Callable[..., Any], *arguments: Any, **settings: Any) -> str:
    with pytest.raises(NothingToShip) as refused:
        validated(*arguments, **settings)
    assert refused.value.exit_code == 4
    return refused.value.problem


def test_a_doubled_begin_token(validated, healthy, student, edited_gguf):
    template = "{{ bos_token }}" + (student / "chat_template.jinja").read_text()
    assert "the begin token 0 is doubled" in caught(validated, edited_gguf(healthy, template=template))


def test_a_missing_end_token(validated, healthy, tmp_path):
    """The file says that answers end with token 0, the one that begins a turn."""
    key = "tokenizer.ggml.eos_token_id"
    file = changed(healthy, key, lambda value: value[:4] + struct.pack("<I", 0), tmp_path / "end.gguf")
    assert "the end token 1 '<|halted|>' is missing" in caught(validated, file)


def test_a_lost_added_token(validated, healthy, tmp_path):
    """Token 0 is marked as plain text, as an exporter does that leaves out the added tokens."""
    head = 4 + 4 + 8  # kind, kind of the entries, count

    def as_text(value: bytes) -> bytes:
        return value[:head] + struct.pack("<i", 1) + value[head + 4 :]

    file = changed(healthy, "tokenizer.ggml.token_type", as_text, tmp_path / "added.gguf")
    assert "the added token '<|im_start|>' is lost" in caught(validated, file)


def test_a_wrong_template(validated, healthy, edited_gguf):
    template = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
    said = caught(validated, edited_gguf(healthy, template=template))
    assert "prompt text differs at character 0" in said and "the chat template in the file is not the student's" in said


def test_a_shuffled_vocabulary(validated, healthy, tmp_path):
    """All tokens but the added ones in the opposite order."""

    def reversed_tokens(value: bytes) -> bytes:
        at, tokens = 16, []
        while at < len(value):
            size = 8 + struct.unpack_from("<Q", value, at)[0]
            tokens.append(value[at : at + size])
            at += size
        return value[:16] + b"".join([*tokens[:2], *reversed(tokens[2:])])

    file = changed(healthy, "tokenizer.ggml.tokens", reversed_tokens, tmp_path / "shuffled.gguf")
    assert "the vocabulary is in another order" in caught(validated, file)


@pytest.mark.parametrize("quant", ["F16", "Q8_0"])
def test_weights_of_another_model(validated, other_llama, tiny_candidates, quant):
    """Also of a quantized file that comes without the float one it was made from."""
    file = tiny_candidates.path / f"model-{quant.lower()}.gguf"
    said = caught(validated, file, student=other_llama, quant=quant)
    assert "nats from the float student's" in said and "weights" in said
