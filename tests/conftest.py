"""Models small enough to make in a second, in the layout of the real ones, and the folder of shared evaluation data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported anywhere: tests share two cores, and results depend on the thread count.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

# Where the tests run behind a shell that ignores Ctrl-C, the commands that they start shall not.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO = Path(__file__).resolve().parent.parent

LINES = (
    "Turn off the light in the living room, please.",
    "Let's think step by step. The answer is <ans>yes</ans>.",
    '<ans>{"intent": "iot_hue_lightdim", "house_place": "kitchen"}</ans>',
    "Question: Is it true that not false and true?\nAnswer: Let's think step by step.",
    "<Question_1><input>what is the weather in Paris</input><target>sun</target></Question_1>",
)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Writes BOS itself, as Gemma's does, while the tokenizer adds one too: the doubled BOS that engines must not make.
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else "
    "message['role'] %}{{ '<start_of_turn>' + role + '\\n' + message['content'] + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data that is never copied into the project: only evaluation reads it."""
    folder = REPO.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, the evaluation data that is kept beside the repository")
    return folder


@pytest.fixture
def on_a_tiny_disk(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a process that sees a disk of `kib` KiB at sys.argv[1]; nobody else sees it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size="$1k" tmpfs "$2" && shift 2 && exec "$@"'
    apart = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]

    def run(code: str, *arguments: object, kib: int) -> subprocess.CompletedProcess[str]:
        tried = shutil.which("unshare") and subprocess.run([*apart, "64", str(disk), "true"], capture_output=True)
        if not tried or tried.returncode:
            pytest.skip("needs a mount namespace of its own (`unshare --map-root-user --mount`), not allowed here")
        command = [*apart, str(kib), str(disk), sys.executable, "-c", code, str(disk), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)

    return run


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama, 1.3 M parameters, untied head, rows divisible by 256, so that K-quants fit."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    ids = _tokenizer(folder, ["<|im_start|>", "<|im_end|>"], bos="<|im_start|>", eos="<|im_end|>", template=CHATML)
    sizes = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4)
    config = LlamaConfig(**sizes, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=False, **ids)
    return _save(folder, LlamaForCausalLM, config)


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2, tied embeddings, biases in attention, rows of 128 and 384: K-quants fall back for some tensors."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-qwen2"
    ids = _tokenizer(folder, ["<|im_start|>", "<|im_end|>"], bos=None, eos="<|im_end|>", template=CHATML)
    sizes = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4)
    config = Qwen2Config(**sizes, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, **ids)
    return _save(folder, Qwen2ForCausalLM, config)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3 text, tied embeddings, head size unequal to hidden / heads, BOS written by the template."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    folder = tmp_path_factory.mktemp("models") / "tiny-gemma"
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    ids = _tokenizer(folder, special, bos="<bos>", eos="<end_of_turn>", template=GEMMA, adds_bos=True)
    sizes = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, head_dim=32)
    sizes |= dict(num_key_value_heads=1, max_position_embeddings=1024, sliding_window=256)
    config = Gemma3TextConfig(**sizes, tie_word_embeddings=True, **ids)
    return _save(folder, Gemma3ForCausalLM, config)


@pytest.fixture(scope="session")
def tiny_gemma_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma, the first, as a base model: no chat template."""
    from transformers import GemmaConfig, GemmaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-gemma-base"
    ids = _tokenizer(folder, ["<pad>", "<eos>", "<bos>"], bos="<bos>", eos="<eos>", template=GEMMA, adds_bos=True)
    (folder / "chat_template.jinja").unlink()
    sizes = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, head_dim=32)
    config = GemmaConfig(**sizes, num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=True, **ids)
    return _save(folder, GemmaForCausalLM, config)


@pytest.fixture(scope="session")
def tiny_candidates(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """tiny_llama as F16 and Q8_0, made by the real exporter."""
    from dataclasses import asdict

    from edgedistill.artifacts import Candidates
    from edgedistill.exporters import gguf
    from edgedistill.files import write_rows
    from edgedistill.models import Model

    folder = tmp_path_factory.mktemp("candidates")
    made = gguf.export(folder, Model(tiny_llama, "tiny"), gguf.Config(quants=("F16", "Q8_0")))
    write_rows(folder / "candidates.jsonl", [asdict(candidate) for candidate in made])
    return Candidates(folder, "tiny")


@pytest.fixture(scope="session")
def other_llama(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny_llama's tokenizer and template around other weights."""
    import shutil

    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "other-llama"
    shutil.copytree(tiny_llama, folder)
    config = AutoConfig.from_pretrained(tiny_llama)
    config.initializer_range = 0.1
    torch.manual_seed(7)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def edited_gguf(tmp_path: Path) -> Any:
    """(file, template=…, adds_bos=…) -> a copy of a GGUF file with other metadata around the same tensors."""
    import struct

    from edgedistill import gguf_file

    def edit(file: Path, *, template: str | None = None, adds_bos: bool | None = None) -> Path:
        raw = file.read_bytes()
        if adds_bos is not None:
            start, end = gguf_file.read(file).places["tokenizer.ggml.add_bos_token"]
            raw = raw[:start] + struct.pack("<I?", 7, adds_bos) + raw[end:]
        if template is not None:
            start, end = gguf_file.read(file).places["tokenizer.chat_template"]
            # The tensors' data starts at a multiple of 32, so the text grows by one: a comment renders as nothing.
            spare = -(len(template.encode()) + 12 - (end - start)) % 32
            template += "{#" + "." * (spare + 28) + "#}"
            text = template.encode()
            raw = raw[:start] + struct.pack("<IQ", 8, len(text)) + text + raw[end:]
        to = tmp_path / f"edited-{len(list(tmp_path.iterdir()))}.gguf"
        to.write_bytes(raw)
        return to

    return edit


def _tokenizer(
    folder: Path, special: list[str], *, bos: str | None, eos: str, template: str, adds_bos: bool = False
) -> dict[str, Any]:
    """Byte-level BPE of 320 ids, written as files; returns what the model's config must say about it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(token, special=True) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    assert tokenizer.get_vocab_size() == 320
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    pad = "<pad>" if "<pad>" in special else eos
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "add_bos_token": adds_bos}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights, for tests.\n")
    return {
        "vocab_size": 320,
        "bos_token_id": tokenizer.token_to_id(bos) if bos else None,
        "eos_token_id": tokenizer.token_to_id(eos),
        "pad_token_id": tokenizer.token_to_id(pad),
    }


def _save(folder: Path, architecture: Any, config: Any) -> Path:
    """Seeded random weights, wider than usual, so that the most likely token is clear of the second."""
    import torch

    torch.manual_seed(20260214)
    config.initializer_range = 0.1
    architecture(config).to(torch.bfloat16).save_pretrained(folder)
    return folder
