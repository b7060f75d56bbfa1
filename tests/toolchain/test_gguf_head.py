"""Files that a native loader must not see: refused by a process of little time and memory, with what is wrong."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from edgedistill import gguf_file
from edgedistill.engines import llama
from edgedistill.errors import EdgeDistillError, IntegrityError, TimedOut, UsageError
from edgedistill.toolchain import gguf_head


@pytest.fixture
def file(tmp_path) -> Path:
    return written(tmp_path / "model.gguf", rows=3)


def written(path: Path, rows: int, eos: int = 2) -> Path:
    """Head and data as a converter writes them: three tokens, an embedding of so many rows."""
    import numpy
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_scores([0.0, 0.0, 0.0])
    writer.add_eos_token_id(eos)
    writer.add_tensor("token_embd.weight", numpy.zeros((rows, 64), dtype=numpy.float16))
    writer.add_tensor("output_norm.weight", numpy.ones(64, dtype=numpy.float32))
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    return path


def refused(path: Path) -> str:
    with pytest.raises(IntegrityError) as error:
        gguf_head.check(path)
    assert error.value.exit_code == 4
    return error.value.problem


def test_a_whole_file_passes_and_a_missing_one_is_named(file, tmp_path):
    gguf_head.check(file)
    with pytest.raises(UsageError, match=r"none\.gguf cannot be read: No such file"):
        gguf_head.check(tmp_path / "none.gguf")


def test_a_file_that_was_cut_is_refused_before_llama_cpp_sees_it(file):
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(IntegrityError, match=r"the data of tensor output_norm\.weight ends beyond the file"):
        llama.open_file(file, context=64)


def test_a_head_that_takes_more_memory_than_allowed_ends_its_own_process_only(tmp_path, monkeypatch):
    """A list of eight million bytes: eight bytes each in Python, more than one MiB in any case."""
    count = 8_000_000
    path = tmp_path / "large.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, count) + bytes(count))
    monkeypatch.setattr(gguf_head, "MEMORY_MIB", 1)
    assert "its head cannot be read within 60 s and 1 MiB" in refused(path)


def test_a_vocabulary_larger_than_the_embedding(tmp_path):
    assert "the vocabulary has 3 tokens, the embedding 2 rows" in refused(written(tmp_path / "few.gguf", rows=2))


def test_an_end_token_outside_of_the_vocabulary(tmp_path):
    said = refused(written(tmp_path / "end.gguf", rows=3, eos=7))
    assert "tokenizer.ggml.eos_token_id is 7, the vocabulary has 3 tokens" in said


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("rows", "has no numbers, its shape is (0, 64)"),
        ("overlap", "begins inside that of another one"),
        ("offset", "no multiple of 32"),
    ],
)
def test_tensors_that_lie_oddly(file, what, says):
    """In the list a tensor is its name, the number of dimensions, these from the row on, the type and the offset."""
    raw = bytearray(file.read_bytes())
    first, second = (raw.index(name) + len(name) for name in (b"token_embd.weight", b"output_norm.weight"))
    if what == "rows":
        struct.pack_into("<Q", raw, first + 4 + 8, 0)
    else:
        struct.pack_into("<Q", raw, second + 4 + 8 + 4, 0 if what == "overlap" else 385)
    file.write_bytes(raw)
    with pytest.raises(IntegrityError, match="not a whole GGUF file") as error:
        gguf_file.check(file)
    assert says in error.value.problem


def test_no_flipped_bit_of_the_head_gives_anything_but_a_named_error(file, tmp_path):
    """400 flips, anywhere in the head: each is refused by name, or leaves a head that fits together."""
    raw, draw = file.read_bytes(), random.Random(4)
    head = len(raw) - 384 - 256
    caught = 0
    for number in range(400):
        flipped = bytearray(raw)
        flipped[draw.randrange(head)] ^= 1 << draw.randrange(8)
        (tmp_path / "flipped.gguf").write_bytes(flipped)
        try:
            gguf_file.check(tmp_path / "flipped.gguf")
        except EdgeDistillError as error:
            assert "not a whole GGUF file" in error.problem, number
            caught += 1
    assert caught > 100


def test_a_machine_that_is_too_busy_says_nothing_of_the_file(file, monkeypatch):
    """No time at all: not the file's fault, and not remembered."""
    monkeypatch.setattr(gguf_head, "_PATIENCE", 0.0)
    with pytest.raises(TimedOut, match=r"reading the head of model\.gguf took longer than 0 s"):
        gguf_head.check(file)
    monkeypatch.undo()
    gguf_head.check(file)
