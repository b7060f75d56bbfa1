"""Against llama.cpp itself: a dry run of its quantizer says which type each tensor would get."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from edgedistill.quantization import QUANTS, expected_types, needs_importance

SHAPES = {
    "plain, tied": dict(layers=17, heads=4, shared_by=1),
    "grouped heads, own head": dict(layers=5, heads=8, shared_by=4, has_head=True),
    "two share": dict(layers=3, heads=4, shared_by=2, has_head=True),
    "narrow": dict(layers=8, heads=3, shared_by=3, width=288, feed_forward=544),
    "eight experts": dict(layers=8, heads=8, shared_by=4, experts=8, has_head=True),
    "four experts": dict(layers=4, heads=4, shared_by=1, experts=4),
}


def gguf_file(
    path: Path,
    *,
    layers: int,
    heads: int,
    shared_by: int,
    width: int = 256,
    feed_forward: int = 512,
    experts: int = 0,
    has_head: bool = False,
) -> dict[str, tuple[int, ...]]:
    """A Llama of zeros; returns its tensors' dimensions, as PyTorch writes them."""
    import gguf
    import numpy as np

    kept = width // heads * (heads // shared_by)
    block = {"attn_q": (width, width), "attn_k": (kept, width), "attn_v": (kept, width), "attn_output": (width, width)}
    several = (experts,) if experts else ()
    suffix = "_exps" if experts else ""
    for name, dimensions in {
        "ffn_gate": (feed_forward, width),
        "ffn_up": (feed_forward, width),
        "ffn_down": (width, feed_forward),
    }.items():
        block[name + suffix] = (*several, *dimensions)
    block |= {"ffn_gate_inp": (experts, width)} if experts else {}
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (64, width), "output_norm.weight": (width,)}
    tensors |= {"output.weight": (64, width)} if has_head else {}
    tensors |= {f"blk.{n}.{name}.weight": d for n in range(layers) for name, d in block.items()}
    tensors |= {f"blk.{n}.{name}_norm.weight": (width,) for n in range(layers) for name in ("attn", "ffn")}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads // shared_by)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(64)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    for name, dimensions in tensors.items():
        writer.add_tensor(
            name, np.zeros(dimensions, np.float32 if len(dimensions) == 1 or "_inp" in name else np.float16)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def dry_run(path: Path, quant: str, has_importance: bool) -> dict[str, str]:
    import llama_cpp

    said: list[str] = []
    listener = llama_cpp.llama_log_callback(lambda level, text, data: said.append(text.decode()))
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.dry_run, settings.nthread = QUANTS[quant].ftype, True, 1
    values = (ctypes.c_float * 1)(1.0)
    entries = (llama_cpp.llama_model_imatrix_data * 2)()
    entries[0].name, entries[0].data, entries[0].size = b"none", values, 1
    if has_importance:
        settings.imatrix = entries
    llama_cpp.llama_log_set(listener, None)
    try:
        code = llama_cpp.llama_model_quantize(str(path).encode(), b"never", ctypes.byref(settings))
    finally:
        llama_cpp.llama_log_set(llama_cpp.llama_log_callback(0), None)
    assert code == 0, "".join(said)
    line = re.compile(r"\] +(\S+) +- \[[^]]*\], type = +(\w+), size = +[\d.]+ MiB(?: -> +[\d.]+ MiB \((\w+)\))?")
    return {name: (became or was).upper() for name, was, became in line.findall("".join(said))}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_quant_gives_every_tensor_the_type_that_llama_cpp_gives_it(shape, tmp_path):
    pytest.importorskip("llama_cpp")
    tensors = gguf_file(tmp_path / "zeros.gguf", **SHAPES[shape])
    for quant in QUANTS:
        for has_importance in (False, True):
            found = dry_run(tmp_path / "zeros.gguf", quant, has_importance)
            expected = expected_types(tensors, quant, has_importance=has_importance)
            assert found == expected, f"{quant}, {has_importance=}"


def test_what_llama_cpp_refuses_without_an_importance_matrix_is_known(tmp_path, capfd):
    """The dry run says it in words, the real one stops."""
    import llama_cpp

    tensors = gguf_file(tmp_path / "zeros.gguf", layers=4, heads=4, shared_by=1)
    for quant in QUANTS:
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.ftype, settings.nthread = QUANTS[quant].ftype, 1
        out = str(tmp_path / "made.gguf").encode()
        refused = llama_cpp.llama_model_quantize(str(tmp_path / "zeros.gguf").encode(), out, ctypes.byref(settings))
        assert bool(refused) == bool(needs_importance(expected_types(tensors, quant), quant)), quant
    capfd.readouterr()
