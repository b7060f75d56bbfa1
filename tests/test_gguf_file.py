"""The reader against files written by the gguf package, and against damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edgedistill import gguf_file
from edgedistill.errors import IntegrityError


@pytest.fixture
def written(tmp_path) -> Path:
    import numpy
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_context_length(512)
    writer.add_token_list(["a", "ß", "€"])
    writer.add_add_bos_token(False)
    writer.add_layer_norm_rms_eps(0.5)
    writer.add_tensor("token_embd.weight", numpy.zeros((3, 64), dtype=numpy.float16))
    writer.add_tensor("output.weight", numpy.zeros((3, 68), dtype=numpy.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", numpy.ones(64, dtype=numpy.float32))
    close = (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close)
    for write in close:
        write()
    return tmp_path / "a.gguf"


def test_head_of_a_file_written_by_the_gguf_package(written):
    head = gguf_file.read(written)
    assert head.metadata["llama.context_length"] == 512
    assert head.metadata["tokenizer.ggml.tokens"] == ["a", "ß", "€"]
    assert head.metadata["tokenizer.ggml.add_bos_token"] is False
    assert head.metadata["llama.attention.layer_norm_rms_epsilon"] == 0.5
    assert head.types == {"token_embd.weight": "F16", "output.weight": "Q8_0", "output_norm.weight": "F32"}
    assert head.shapes["output.weight"] == (3, 64)
    assert head.parameters == 3 * 64 + 3 * 64 + 64
    assert head.tensor_bytes == 384 + 3 * 68 + 256


def test_a_decoded_token_reads_one_row_of_an_untied_embedding(written):
    assert gguf_file.read(written).read_bytes == 128 + 3 * 68 + 256


def test_it_agrees_with_the_gguf_packages_reader(written):
    from gguf import GGUFReader

    read = GGUFReader(written).tensors
    theirs = {tensor.name: (tensor.tensor_type.name, tuple(map(int, reversed(tensor.shape)))) for tensor in read}
    ours = {name: (tensor.type, tensor.dimensions) for name, tensor in gguf_file.read(written).tensors.items()}
    assert ours == theirs


def test_every_cut_is_found(written, tmp_path):
    raw = written.read_bytes()
    for end in range(0, len(raw), 7):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(raw[:end])
        with pytest.raises(IntegrityError, match="not a whole GGUF file"):
            gguf_file.read(cut)


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<IQQ", 3, 1 << 60, 0),  # tensors
        struct.pack("<IQQ", 3, 0, 1 << 60),  # metadata
        struct.pack("<IQQQ", 3, 0, 1, 1 << 62),  # length of a key
        struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, 1 << 61),  # a list of bytes
        struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1),  # a list of lists
        struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 77),  # unknown kind
        struct.pack("<IQQ", 2, 0, 0),  # version
    ],
)
def test_crafted_counts_are_refused_at_once(head, tmp_path):
    path = tmp_path / "crafted.gguf"
    path.write_bytes(b"GGUF" + head + b"\0" * 64)
    with pytest.raises(IntegrityError, match="not a whole GGUF file"):
        gguf_file.read(path)


def test_a_text_is_replaced_in_a_vocabulary(tmp_path):
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "v.gguf", "llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(["a", "b"])
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.close):
        write()
    gguf_file.with_text(tmp_path / "v.gguf", "tokenizer.ggml.pre", "gpt-2", tmp_path / "w.gguf")
    changed = gguf_file.read(tmp_path / "w.gguf")
    assert changed.metadata["tokenizer.ggml.pre"] == "gpt-2"
    assert changed.metadata["tokenizer.ggml.tokens"] == ["a", "b"]
