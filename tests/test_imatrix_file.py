"""llama.cpp's format, written by one library and read by another."""

from __future__ import annotations

import pytest

from edgedistill import imatrix_file
from edgedistill.errors import IntegrityError
from edgedistill.imatrix_file import Importance


def entries() -> dict[str, Importance]:
    import numpy as np

    return {
        "blk.0.attn_q.weight": Importance(np.array([[4.0, 0.0, 9.0]], np.float32), np.array([2.0], np.float32)),
        # Two experts, the second of which no token went through.
        "blk.0.ffn_up_exps.weight": Importance(
            np.array([[5.0, 10.0], [0.0, 0.0]], np.float32), np.array([5.0, 0.0], np.float32)
        ),
    }


def test_what_is_written_is_read_and_an_unused_expert_weighs_all_columns_alike(tmp_path):
    path = tmp_path / "imatrix.gguf"
    imatrix_file.write(path, entries(), source="tailored rows", chunk_tokens=4)
    found = imatrix_file.read(path)
    assert found["blk.0.attn_q.weight"].means.tolist() == [[2.0, 0.0, 4.5]]
    assert found["blk.0.ffn_up_exps.weight"].means.tolist() == [[1.0, 2.0], [1.0, 1.0]]
    about = imatrix_file.about(path)
    assert (about.source, about.chunks) == ("tailored rows", 2)  # 5 tokens in chunks of 4


def test_the_layout_is_llama_cpps(tmp_path):
    """Names, types and the order of dimensions as `save_imatrix` has them: columns first, then experts."""
    from gguf import GGUFReader

    imatrix_file.write(tmp_path / "a.gguf", entries(), source="text", chunk_tokens=512)
    reader = GGUFReader(tmp_path / "a.gguf")
    shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors}
    assert shapes == {
        "blk.0.attn_q.weight.in_sum2": (3, 1),
        "blk.0.attn_q.weight.counts": (1, 1),
        "blk.0.ffn_up_exps.weight.in_sum2": (2, 2),
        "blk.0.ffn_up_exps.weight.counts": (1, 2),
    }
    keys = [key for key in reader.fields if not key.startswith("GGUF.")]
    assert keys == ["general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"]


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in "ab":
        imatrix_file.write(tmp_path / name, dict(reversed(entries().items())), source="text", chunk_tokens=512)
    imatrix_file.write(tmp_path / "c", entries(), source="text", chunk_tokens=512)
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


def test_a_file_that_is_none_is_refused(tmp_path):
    import numpy as np

    path = tmp_path / "imatrix.gguf"
    bad = Importance(np.array([[1.0, np.inf]], np.float32), np.array([1.0], np.float32))
    imatrix_file.write(path, {"blk.0.attn_q.weight": bad}, source="text", chunk_tokens=512)
    with pytest.raises(IntegrityError, match="not finite"):
        imatrix_file.read(path)
    path.write_bytes(path.read_bytes()[:-64])  # more than the padding at its end
    with pytest.raises(IntegrityError, match="not a whole GGUF file"):
        imatrix_file.read(path)
    imatrix_file.write(path, {}, source="text", chunk_tokens=512)
    with pytest.raises(IntegrityError, match="not an importance matrix"):
        imatrix_file.read(path)
