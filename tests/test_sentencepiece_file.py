"""A vocabulary counted without the library that wrote it, and held against the embedding."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from edgedistill import models, sentencepiece_file
from edgedistill.errors import UsageError


def a_file(path: Path, count: int) -> Path:
    """As the proto says: field 1 is a piece (text, and a score in four bytes), field 2 the trainer's settings."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    pieces = [field(1, field(1, f"piece {n}".encode()) + b"\x15" + struct.pack("<f", -n)) for n in range(count)]
    path.write_bytes(b"".join(pieces) + field(2, b"\x18\x90\x4e"))
    return path


def test_pieces_are_counted(tmp_path):
    assert sentencepiece_file.pieces(a_file(tmp_path / "tokenizer.model", 7)) == 7


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-3], lambda raw: b"\xff" * 40, lambda raw: b"", lambda raw: raw + b"\x0b"]
)
def test_a_damaged_file_is_a_value_error(tmp_path, damage):
    file = a_file(tmp_path / "tokenizer.model", 7)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"tokenizer\.model is cut short"):
        sentencepiece_file.pieces(file)


def test_the_librarys_own_file_is_counted_like_the_library_does(tmp_path):
    library = pytest.importorskip("sentencepiece")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the light in room {n} is on, turn number {n * 7} off" for n in range(200)))
    library.SentencePieceTrainer.train(input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=60)
    own = library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert sentencepiece_file.pieces(tmp_path / "tokenizer.model") == own.vocab_size() == 60


def test_a_vocabulary_larger_than_the_embedding_is_refused(tiny_llama, tmp_path):
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    (model / "tokenizer.json").unlink()
    rows = models.shape_of(model).vocab
    a_file(model / "tokenizer.model", rows)
    models.check(model, "student")
    a_file(model / "tokenizer.model", rows + 1)
    with pytest.raises(UsageError, match=f"the tokenizer's highest id is {rows}, the model has {rows} rows"):
        models.check(model, "student")
    a_file(model / "tokenizer.model", rows)
    (model / "added_tokens.json").write_text(json.dumps({"<extra>": rows + 4}))
    with pytest.raises(UsageError, match=f"the tokenizer's highest id is {rows + 4}"):
        models.check(model, "student")
