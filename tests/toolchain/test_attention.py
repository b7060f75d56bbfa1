"""Gemmas whose attention is not the published sizes': the file must be the same model. Expected values are torch's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgedistill import gguf_file
from edgedistill.engines import hf, llama
from edgedistill.exporters import gguf
from edgedistill.models import Model
from edgedistill.toolchain import attention

SAID = [[{"role": "user", "content": text}] for text in ("Turn off the light.", "Is it true? " * 60)]
"""One within a window of 64 tokens, one far beyond."""


def assert_same_model(folder: Path, out: Path) -> None:
    """First-token distributions of F16 and of torch's float32 model: rounding moves them by about a millionth."""
    out.mkdir()
    (made,) = gguf.export(out, Model(folder, "key"), gguf.Config(quants=("F16",)))
    with hf.open_engine(Model(folder, "key")) as engine:
        expected = engine.first_token_log_probs(SAID)
    with llama.open_file(out / made.file, context=1024, threads=1) as engine:
        found = engine.first_token_log_probs(SAID)
    moved = (np.exp(expected) * (expected - found)).sum(axis=1)
    assert moved.max() < 1e-4, moved


@pytest.mark.parametrize(
    "changes",
    [
        {"query_pre_attn_scalar": 24},
        {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 64},
        {"layer_types": ["full_attention", "full_attention"], "sliding_window": 64},
    ],
    ids=["scale", "window in the last layer", "no window"],
)
def test_gemma_3_keeps_its_own_scale_and_windows(tiny_gemma, tmp_path, changes):
    folder = shutil.copytree(tiny_gemma, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    assert set(changes) <= set(config)
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    assert_same_model(folder, tmp_path / "out")


@pytest.mark.parametrize("last", ["full_attention", "sliding_attention"])
def test_gemma_2_keeps_its_own_scale_and_windows(tiny_gemma, tmp_path, last):
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = shutil.copytree(tiny_gemma, tmp_path / "model")
    ids = {key: json.loads((folder / "config.json").read_text())[key] for key in ("vocab_size", "eos_token_id")}
    sizes = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, head_dim=32)
    sizes |= dict(num_key_value_heads=1, max_position_embeddings=1024, sliding_window=64, query_pre_attn_scalar=144)
    windows = ["full_attention", last]
    config = Gemma2Config(**sizes, layer_types=windows, initializer_range=0.1, bos_token_id=2, pad_token_id=0, **ids)
    torch.manual_seed(3)
    Gemma2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    assert_same_model(folder, tmp_path / "out")
    head = gguf_file.read(tmp_path / "out" / "model-f16.gguf")
    assert head.metadata["gemma2.attn_logit_softcapping"] == 50.0


@pytest.mark.parametrize(
    ("architecture", "sizes", "factor"),
    [
        # head size, hidden, heads, layers, query_pre_attn_scalar: of gemma-2-9b, gemma-3-27b, gemma-2-27b, Rnj-1
        ("Gemma2ForCausalLM", (256, 3584, 16, 42, 256), 1.0),
        ("Gemma3ForConditionalGeneration", (128, 5376, 32, 62, 168), 1.0),
        ("Gemma2ForCausalLM", (128, 4608, 32, 46, 144), 1.0),
        ("Gemma3ForCausalLM", (128, 4096, 32, 32, 128), 1.0),
        # The root of 32/128.
        ("Gemma3ForCausalLM", (32, 128, 2, 2, 128), 0.5),
        ("LlamaForCausalLM", (32, 128, 2, 2, 128), 1.0),
    ],
)
def test_only_a_scale_that_llama_cpp_does_not_assume_is_mended(architecture, sizes, factor):
    names = ("head_dim", "hidden_size", "num_attention_heads", "num_hidden_layers", "query_pre_attn_scalar")
    assert attention.query_factor(architecture, {"text_config": dict(zip(names, sizes, strict=True))}) == factor
