"""Importance by hand, and against llama.cpp's own tool on the same tokens."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from edgedistill import imatrix_file
from edgedistill.exporters import gguf
from edgedistill.models import Model

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import llama_tools


def opened(path: Path):
    import torch

    from edgedistill.ml import weights

    return weights.load(Model(path, "key"), torch.float32, longest=512).eval()


def test_a_sum_is_that_of_the_squares_of_a_matrixs_inputs_and_padding_does_not_count(tiny_qwen2):
    """Each row by itself, with the inputs of the modules written down, gives what the rows together give."""
    import torch

    from edgedistill.ml import imatrix

    model, rows = opened(tiny_qwen2), [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]
    seen: dict[str, list] = {"q_proj": [], "down_proj": []}
    layer = model.model.layers[1]
    layer.self_attn.q_proj.register_forward_pre_hook(lambda module, given: seen["q_proj"].append(given[0]))
    layer.mlp.down_proj.register_forward_pre_hook(lambda module, given: seen["down_proj"].append(given[0]))
    hidden = []
    with torch.no_grad():
        for row in rows:
            hidden.append(model.model(input_ids=torch.tensor([row]))[0])
    by_hand = {
        name: sum((part[0].double() ** 2).sum(0) for part in parts) for name, parts in {**seen, "head": hidden}.items()
    }
    found = imatrix.importance(model, tiny_qwen2, rows)
    for name, tensor in {"q_proj": "blk.1.attn_q", "down_proj": "blk.1.ffn_down", "head": "token_embd"}.items():
        entry = found[f"{tensor}.weight"]
        assert entry.counts.tolist() == [11]
        assert torch.allclose(torch.from_numpy(entry.sums[0]).double(), by_hand[name], rtol=1e-4), name
    assert (found["blk.0.attn_k.weight"].sums == found["blk.0.attn_v.weight"].sums).all()


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_every_matrix_of_the_gguf_file_has_an_entry_of_its_columns(name, request, tmp_path):
    from edgedistill import gguf_file
    from edgedistill.ml import imatrix
    from edgedistill.quantization import is_quantized

    path = request.getfixturevalue(name)
    found = imatrix.importance(opened(path), path, [[5, 6, 7, 8]])
    gguf.export_float(Model(path, "key"), tmp_path / "float.gguf")
    shapes = gguf_file.read(tmp_path / "float.gguf").shapes
    matrices = {tensor: d[-1] for tensor, d in shapes.items() if is_quantized(tensor, d)}
    if "output.weight" in matrices:
        del matrices["token_embd.weight"]  # a table that nothing flows into
    assert {tensor: entry.sums.shape[1] for tensor, entry in found.items()} == matrices


def in_32_bits(source: Path, out: Path) -> None:
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(settings)) == 0


@pytest.mark.slow
def test_it_is_what_llama_imatrix_finds_on_the_same_tokens(tiny_llama, tmp_path):
    """Within 0.1%, on chunks of 64 tokens. The file is in 32-bit floats: beside 16-bit weights llama.cpp rounds a
    matrix's inputs to 16 bits as well, which moves some sums by 0.2%.
    """
    import numpy as np
    from transformers import AutoTokenizer

    from edgedistill.ml import imatrix

    tool = llama_tools.find("llama-imatrix")
    if tool is None:
        pytest.skip("llama-imatrix is not built here; `python tests/bench/llama_tools.py` builds it")
    file, text = (
        tmp_path / "float.gguf",
        " ".join(f"turn the light {n} on, 20 degrees in the kitchen" for n in range(60)),
    )
    gguf.export_float(Model(tiny_llama, "key"), tmp_path / "f16.gguf")
    in_32_bits(tmp_path / "f16.gguf", file)
    (tmp_path / "text.txt").write_text(text)
    options = ["-f", str(tmp_path / "text.txt"), "-o", str(tmp_path / "theirs.gguf"), "-c", "64", "-b", "64", "-t", "1"]
    exact = ["--process-output", "--no-ppl", "-ctk", "f32", "-ctv", "f32", "-fa", "off"]
    command = [str(tool), "-m", str(file), *options, *exact]
    done = subprocess.run(command, env=llama_tools.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    ids = AutoTokenizer.from_pretrained(tiny_llama)(text, add_special_tokens=False)["input_ids"]
    chunks = [ids[at : at + 64] for at in range(0, len(ids) - 63, 64)]
    assert len(chunks) > 4
    ours, theirs = (
        imatrix.importance(opened(tiny_llama), tiny_llama, chunks),
        imatrix_file.read(tmp_path / "theirs.gguf"),
    )
    assert ours.keys() == theirs.keys()
    assert "output.weight" in ours and len(ours) == 15
    for name, entry in theirs.items():
        assert entry.counts.tolist() == ours[name].counts.tolist() == [64 * len(chunks)]
        np.testing.assert_allclose(ours[name].sums, entry.sums, rtol=1e-3, err_msg=name)
