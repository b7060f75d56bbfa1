"""Random models of each architecture with real tokenizers, as GGUF: the ids and distributions of transformers.

And every tokenizer at hand converts so that llama.cpp gives the ids of its test vectors, or is refused with a reason.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedistill import gguf_file
from edgedistill.engine import open_engine, open_file
from edgedistill.exporters import gguf
from edgedistill.models import Model
from edgedistill.toolchain import tokenization

pytestmark = pytest.mark.slow
ASKED = ("Once upon a time", "Hello  world! 12345 Grüße 你好 👍\n\tx = y_1;", "")
ENDS = {"gpt2": "<|endoftext|>", "smollm2": "<|im_end|>", "phi3": "<|end|>", "mpt": "<|endoftext|>"}
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.1)
GROUPED = dict(num_key_value_heads=2, max_position_embeddings=256)
LETTERED = (
    "{% for message in messages %}{{ '\\n' if not loop.first }}{{ message['role'] }}: {{ message['content'] }}"
    "{% endfor %}{{ '\\nassistant:' }}"
)


@pytest.fixture
def tokenizers(shared) -> Path:
    return shared / "data" / "tokenizers"


def folder_of(tokenizer: Path, folder: Path, end: str) -> int:
    """A model folder with everything but the model; returns the rows that its embedding needs."""
    if not tokenizer.is_file():
        pytest.skip(f"needs {tokenizer}")
    folder.mkdir()
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "bos_token": None, "pad_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(LETTERED)
    return max([*content["model"]["vocab"].values(), *(token["id"] for token in content["added_tokens"])]) + 1


def model_of(name: str, rows: int, end: int, folder: Path) -> Model:
    import torch
    import transformers

    known = dict(vocab_size=rows, eos_token_id=end, bos_token_id=None, pad_token_id=end)
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "llama": ("Llama", GROUPED),
        "qwen2": ("Qwen2", GROUPED | {"tie_word_embeddings": True}),
        "qwen3": ("Qwen3", GROUPED | {"head_dim": 16}),
        "gemma2": ("Gemma2", GROUPED | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64}),
        "gemma3": ("Gemma3", GROUPED | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64}),
        "phi3": ("Phi3", GROUPED | {"original_max_position_embeddings": 256}),
    }
    torch.manual_seed(3)
    if name == "gpt2":
        config = transformers.GPT2Config(
            n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=0.1, **known
        )
        kind = transformers.GPT2LMHeadModel
    else:
        prefix, own = made[name]
        config_name = f"{prefix}TextConfig" if name == "gemma3" else f"{prefix}Config"
        config = getattr(transformers, config_name)(**SIZES, **own, **known)
        kind = getattr(transformers, f"{prefix}ForCausalLM")
    kind(config).save_pretrained(folder)
    if name == "gpt2":
        add_buffers(folder / "model.safetensors")
    return Model(folder, "key")


def add_buffers(file: Path) -> None:
    """What the checkpoint of that name on the hub holds too: the causal mask of each layer, as numbers."""
    import torch
    from safetensors.torch import load_file, save_file

    mask = torch.tril(torch.ones(256, 256)).view(1, 1, 256, 256)
    buffers = {f"transformer.h.{layer}.attn.bias": mask.clone() for layer in range(2)}
    buffers |= {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(2)}
    save_file({**load_file(file), **buffers}, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("architecture", "tokenizer"),
    [
        ("llama", "phi3"),
        ("llama", "smollm2"),
        ("qwen2", "smollm2"),
        ("qwen3", "gpt2"),
        ("gemma2", "phi3"),
        ("gemma3", "phi3"),
        ("phi3", "phi3"),
        ("gpt2", "gpt2"),
    ],
)
def test_the_file_reads_and_answers_as_the_model_does(architecture, tokenizer, tokenizers, tmp_path):
    folder = tmp_path / "model"
    rows = folder_of(tokenizers / tokenizer / "tokenizer.json", folder, ENDS[tokenizer])
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    model = model_of(architecture, rows, end, folder)
    (candidate,) = gguf.export(tmp_path, model, gguf.Config(quants=("F16",)))
    conversations = [[{"role": "user", "content": text}] for text in ASKED]
    with open_engine(model) as engine:
        ids = [engine.token_ids(messages) for messages in conversations]
        expected = engine.first_token_log_probs(conversations)
    with open_file(tmp_path / candidate.file, "gguf", context=256) as engine:
        assert [engine.token_ids(messages) for messages in conversations] == ids
        found = engine.first_token_log_probs(conversations)
    kl = (np.exp(expected) * (expected - found[:, : expected.shape[1]])).sum(axis=1)
    assert kl.max() < 0.002, kl


def vectors(folder: Path, name: str) -> dict[str, list[int]]:
    texts = (folder / f"{name}.gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    ids = [[int(n) for n in line.split()] for line in (folder / f"{name}.gguf.out").read_text().splitlines()]
    found = dict(zip(texts, ids, strict=False))
    assert len(found) > 40
    return found


def converted(folder: Path, rows: int, tmp_path: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=True, **sizes)).save_pretrained(folder)
    (candidate,) = gguf.export(tmp_path, Model(folder, "key"), gguf.Config(quants=("F16",)))
    return tmp_path / candidate.file


def assert_vectors(file: Path, expected: dict[str, list[int]]) -> None:
    with tokenization.opened(file) as vocabulary:
        assert vocabulary is not None
        differing = [text for text, ids in expected.items() if vocabulary.token_ids(text) != ids]
    assert differing == []


def test_gpt2_gives_its_vectors_and_those_of_another_implementation(tokenizers, tmp_path):
    rows = folder_of(tokenizers / "gpt2" / "tokenizer.json", tmp_path / "model", ENDS["gpt2"])
    file = converted(tmp_path / "model", rows, tmp_path)
    other = json.loads((tokenizers / "hf-vectors" / "gpt2_encoded_tokens.json").read_text(encoding="utf-8"))
    expected = {**vectors(tokenizers / "gpt2", "ggml-vocab-gpt-2"), other["text"]: other["token_ids"]}
    assert_vectors(file, expected)


def test_a_vocabulary_of_gpt_neox_is_found_by_behavior(tokenizers, tmp_path):
    """Only llama.cpp's own file of it is at hand; tokens and merges are put into a tokenizer.json, with NeoX's rule."""
    source = tokenizers / "mpt-gpt-neox"
    if not (source / "ggml-vocab-mpt.gguf").is_file():
        pytest.skip(f"needs {source}/ggml-vocab-mpt.gguf")
    head = gguf_file.read(source / "ggml-vocab-mpt.gguf").metadata
    tokens, kinds = head["tokenizer.ggml.tokens"], head["tokenizer.ggml.token_type"]
    added = [n for n, kind in enumerate(kinds) if kind in (3, 4)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content = {
        "version": "1.0",
        "added_tokens": [{"id": n, "content": tokens[n], "special": kinds[n] == 3, **flags} for n in added],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": level,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {token: n for n, token in enumerate(tokens) if n not in set(added)},
            "merges": [merge.split(" ") for merge in head["tokenizer.ggml.merges"]],
        },
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    rows = folder_of(tmp_path / "tokenizer.json", tmp_path / "model", ENDS["mpt"])
    file = converted(tmp_path / "model", max(rows, len(tokens)), tmp_path)
    assert_vectors(file, vectors(source, "ggml-vocab-mpt"))
