"""Real conversions of tiny models. Expected ids come from the Hugging Face tokenizer and llama.cpp's test vectors."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgedistill import gguf_file, quantized
from edgedistill.errors import IntegrityError, UsageError
from edgedistill.exporters import gguf
from edgedistill.files import sha256_of
from edgedistill.models import Model, clean_copy, shape_of
from edgedistill.quantization import expected_types, type_counts
from edgedistill.quants import QuantEntry
from edgedistill.toolchain import tokenization

QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q4_0")


def export(out: Path, model: Path, *quants: str) -> dict[str, Path]:
    out.mkdir(parents=True, exist_ok=True)
    config = gguf.Config(quants=quants or QUANTS)
    return {c.quant: out / c.file for c in gguf.export(out, Model(model, "key"), config)}


@pytest.fixture(scope="module")
def llama(tiny_llama, tmp_path_factory) -> dict[str, Path]:
    return export(tmp_path_factory.mktemp("llama"), tiny_llama)


def with_tokenizer(source: Path, folder: Path, /, **changes: object) -> Path:
    """A copy of a model whose tokenizer.json has other top-level entries."""
    shutil.copytree(source, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, **changes}))
    return folder


def random_texts(count: int) -> list[str]:
    """Not among the texts that the splitting rule was chosen by."""
    draw = random.Random(5)
    words = ["light", " kitchen", "42", " 1999", "'s", "!", " =", "ß", " Ünï", "你好", "🚀", "_x"]
    pieces = [*words, "\n", "\n\n", "  ", "\t"]
    return ["".join(draw.choices(pieces, k=draw.randint(1, 14))) for _ in range(count)]


def assert_same_ids(model: Path, file: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with tokenization.opened(file) as vocabulary:
        assert vocabulary is not None
        for text in random_texts(200):
            assert vocabulary.token_ids(text) == tokenizer.encode(text, add_special_tokens=False), text


def test_every_candidate_holds_the_model_in_the_foretold_types(llama, tiny_llama):
    shape = shape_of(tiny_llama)
    for quant, file in llama.items():
        head = gguf_file.read(file)
        assert head.parameters == shape.parameters
        assert type_counts(head.types) == type_counts(expected_types(shape.tensors, quant))
    assert gguf_file.read(llama["Q4_K_M"]).types["blk.0.attn_q.weight"] == "Q4_K"


def test_what_is_said_about_a_candidate_is_what_the_file_holds(llama, tmp_path):
    q8 = tmp_path / "model-q8_0.gguf"
    shutil.copyfile(llama["Q8_0"], q8)
    candidate = gguf._candidate(q8, QuantEntry(quant="Q8_0"))
    from gguf import GGUFReader

    tensors = GGUFReader(q8).tensors
    assert candidate.parameters == sum(int(tensor.n_elements) for tensor in tensors)
    assert candidate.bytes == q8.stat().st_size and candidate.sha256 == sha256_of(q8)
    data = {tensor.name: int(tensor.n_bytes) for tensor in tensors}
    rows = int(next(tensor for tensor in tensors if tensor.name == "token_embd.weight").shape[1])
    embedding = data["token_embd.weight"]
    assert candidate.read_bytes == sum(data.values()) - embedding + embedding // rows
    assert candidate.bits_per_weight == pytest.approx(8 * sum(data.values()) / candidate.parameters, abs=1e-4)


def test_the_texts_around_the_weights_are_in_the_file(llama, tiny_llama):
    """Stop token and template are the model's own; the template writes BOS itself, so the runtime must not."""
    for file in llama.values():
        metadata = gguf_file.read(file).metadata
        config = json.loads((tiny_llama / "config.json").read_text())
        assert metadata["tokenizer.chat_template"] == (tiny_llama / "chat_template.jinja").read_text()
        assert metadata["tokenizer.ggml.eos_token_id"] == config["eos_token_id"]
        assert metadata["tokenizer.ggml.add_bos_token"] is False
        assert metadata["general.name"] == "student"


def test_gpt2_style_splitting_is_found(llama, tiny_llama):
    assert gguf_file.read(llama["F16"]).metadata["tokenizer.ggml.pre"] == "gpt-2"
    assert_same_ids(tiny_llama, llama["F16"])


def test_the_same_weights_give_the_same_bytes_whatever_the_folder_is_called(llama, tiny_llama, tmp_path):
    again = export(tmp_path / "out", shutil.copytree(tiny_llama, tmp_path / "Another-7B-Name-v2"), "F16", "Q4_0")
    assert sha256_of(again["F16"]) == sha256_of(llama["F16"])
    assert sha256_of(again["Q4_0"]) == sha256_of(llama["Q4_0"])
    assert not (tmp_path / "out" / "scratch").exists()


def test_smollm_style_splitting_is_found_and_bos_is_added_where_the_tokenizer_does(tiny_llama, tmp_path):
    digits = {"type": "Digits", "individual_digits": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    # A token of two spaces tells the rules apart: before a digit, GPT-2's rule leaves one space to the number.
    content = json.loads((tiny_llama / "tokenizer.json").read_text())["model"]
    last = max(content["vocab"], key=content["vocab"].get)
    vocab = {"ĠĠ" if token == last else token: number for token, number in content["vocab"].items()}
    merges = [*content["merges"][:-1], ["Ġ", "Ġ"]]
    begin = {"id": "<|im_end|>", "ids": [1], "tokens": ["<|im_end|>"]}
    template = [{"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    model = with_tokenizer(
        tiny_llama,
        tmp_path / "model",
        model={**content, "vocab": vocab, "merges": merges},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, level]},
        post_processor={
            "type": "TemplateProcessing",
            "single": template,
            "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<|im_end|>": begin},
        },
    )
    settings = json.loads((model / "tokenizer_config.json").read_text())
    del settings["add_bos_token"]
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": "<|im_end|>"}))
    metadata = gguf_file.read(export(tmp_path / "out", model, "F16")["F16"]).metadata
    assert metadata["tokenizer.ggml.pre"] == "smollm"
    assert metadata["tokenizer.ggml.add_bos_token"] is True  # this template does not begin with <|im_end|>
    assert_same_ids(model, tmp_path / "out" / "model-f16.gguf")


def test_a_tokenizer_that_llama_cpp_cannot_reproduce_is_refused_with_the_first_text(tiny_llama, tmp_path):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"String": "e"}, "behavior": "Isolated", "invert": False}
    model = with_tokenizer(
        tiny_llama, tmp_path / "m", pre_tokenizer={"type": "Sequence", "pretokenizers": [split, level]}
    )
    with pytest.raises(UsageError, match=r"none of its .* splitting rules .* differs first on"):
        export(tmp_path / "out", model, "F16")
    assert not list((tmp_path / "out").iterdir())


def test_qwen2_with_narrow_rows_falls_back_as_foretold(tiny_qwen2, tmp_path, capsys):
    files = export(tmp_path, tiny_qwen2, "Q4_K_M", "Q4_0")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["model-f16.gguf", "model-q4_0.gguf", "model-q4_k_m.gguf"]
    types = gguf_file.read(files["Q4_K_M"]).types
    assert types["token_embd.weight"] == "Q8_0"  # tied head, rows of 128: Q6_K does not fit
    assert types["blk.0.attn_q.weight"] == "Q5_0"  # in place of Q4_K
    assert types["blk.0.attn_q.bias"] == "F32"
    assert "do not fit; llama.cpp takes" in capsys.readouterr().err


def test_gemma_without_a_sentencepiece_file(tiny_gemma, tmp_path):
    """The converter's class insists on tokenizer.model, which transformers 5 does not save."""
    files = export(tmp_path, tiny_gemma, "Q8_0")
    head = gguf_file.read(files["Q8_0"])
    assert head.parameters == shape_of(tiny_gemma).parameters
    assert head.metadata["tokenizer.ggml.add_bos_token"] is False  # the tokenizer adds it, but so does the template
    assert_same_ids(tiny_gemma, files["Q8_0"])


@pytest.mark.parametrize(("name", "vectors"), [("smollm2", "ggml-vocab-smollm"), ("phi3", "ggml-vocab-phi-3")])
def test_real_tokenizers_give_llama_cpps_own_test_vectors(name, vectors, shared, tmp_path):
    """SmolLM2 is known to the converter by hash. Phi-3 comes without tokenizer.model: scores come from its merges."""
    source = shared / "data" / "tokenizers" / name
    if not (source / "tokenizer.json").is_file():
        pytest.skip(f"needs {source}/tokenizer.json")
    model = random_llama(tmp_path / "model", source / "tokenizer.json")
    file = export(tmp_path / "out", model, "F16")["F16"]
    texts = (source / f"{vectors}.gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    ids = [[int(n) for n in line.split()] for line in (source / f"{vectors}.gguf.out").read_text().splitlines()]
    assert len(ids) > 40
    with tokenization.opened(file) as vocabulary:
        assert vocabulary is not None
        for text, expected in zip(texts, ids, strict=False):
            assert vocabulary.token_ids(text) == expected, text


def random_llama(folder: Path, tokenizer: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    ids = [*content["model"]["vocab"].values(), *(token["id"] for token in content["added_tokens"])]
    names = {token["content"]: token["id"] for token in content["added_tokens"]}
    end = "<|endoftext|>" if "<|endoftext|>" in names else "</s>"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "bos_token": end, "pad_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    config = LlamaConfig(vocab_size=max(ids) + 1, eos_token_id=names[end], tie_word_embeddings=True, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_weight_file_without_tensors_is_refused(tiny_llama, tmp_path):
    """llama.cpp's converter writes an empty GGUF from it and reports success."""
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(IntegrityError, match=r"the converter lost weights"):
        export(tmp_path / "out", model, "F16")
    assert not list((tmp_path / "out").iterdir())


def test_a_stored_head_that_the_config_ties_is_not_exported(tiny_qwen2, tmp_path):
    """transformers ignores it; llama.cpp would use it, and the model would be another one."""
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(tiny_qwen2, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors["lm_head.weight"] = -tensors["model.embed_tokens.weight"]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    head = gguf_file.read(export(tmp_path / "out", model, "F16")["F16"])
    assert "output.weight" not in head.tensors
    assert head.parameters == shape_of(tiny_qwen2).parameters


def test_a_head_that_is_neither_stored_nor_tied_is_refused(llama, tiny_qwen2):
    head = gguf_file.read(llama["Q4_0"])
    without = replace(head, tensors={name: t for name, t in head.tensors.items() if name != "output.weight"})
    shape = replace(shape_of(tiny_qwen2), tensors=without.shapes)
    with pytest.raises(IntegrityError, match=r"the model has no head of its own"):
        gguf._compare_weights(without, shape, is_tied=False)
    gguf._compare_weights(without, shape, is_tied=None)


def test_a_model_that_brings_code_is_refused(tiny_llama, tmp_path):
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(UsageError, match="auto_map"):
        export(tmp_path / "out", model, "F16")


def test_only_listed_files_reach_the_converter(tiny_llama, tmp_path):
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    (model / "modeling_evil.py").write_text("raise SystemExit")
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    clean = clean_copy(Model(model, "key"), tmp_path / "clean")
    assert not {"modeling_evil.py", "pytorch_model.bin", "README.md"} & {path.name for path in clean.iterdir()}
    for path in clean.iterdir():
        assert path.is_symlink() == (path.suffix == ".safetensors"), "weights take no room, settings may be rewritten"
    assert (clean / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


def test_quants_are_checked_when_the_recipe_is_read():
    with pytest.raises(ValueError, match=r"no quantization named Q9; there are: F16"):
        gguf.Config(quants=("Q8_0", "Q9"))
    with pytest.raises(ValueError, match="named twice"):
        gguf.Config(quants=("Q8_0", "Q8_0"))


def test_an_unforeseen_type_is_an_error(llama):
    head = gguf_file.read(llama["Q4_0"])
    with pytest.raises(IntegrityError, match=r"than was foretold(.|\n)*blk.0.attn_k.weight: Q4_0, expected Q8_0"):
        quantized.compare_types(head, {**head.types, "blk.0.attn_k.weight": "Q8_0"}, "Q4_0")


KILLED = """
import sys
from pathlib import Path
from edgedistill.exporters import gguf
from edgedistill.models import Model
out, model = map(Path, sys.argv[1:])
gguf.export(out, Model(model, "key"), gguf.Config(quants=("F16", "Q8_0", "Q4_K_M", "Q4_0")))
"""


@pytest.mark.parametrize("moment", ["scratch/model", "model-f16.gguf"])
def test_killed_it_leaves_nothing_half_written_and_a_rerun_gives_the_same_bytes(moment, llama, tiny_llama, tmp_path):
    import psutil

    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", KILLED, str(out), str(tiny_llama)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(gguf.__file__).parents[2])})
    while not (out / moment).exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(children, timeout=20)[1] == []  # no converter goes on writing
    for file in out.glob("model-*.gguf"):
        assert sha256_of(file) == sha256_of(llama[file.stem.removeprefix("model-").upper()])
    kept = {file: file.stat().st_mtime_ns for file in out.glob("model-*.gguf")}
    again = export(out, tiny_llama)
    assert {quant: sha256_of(file) for quant, file in again.items()} == {q: sha256_of(f) for q, f in llama.items()}
    assert {file: file.stat().st_mtime_ns for file in kept} == kept  # finished files are not made again


@pytest.mark.slow
def test_a_known_tokenizer_that_was_changed_is_refused_where_no_rule_gives_its_ids(shared, tmp_path):
    """SmolLM2's, cut at `ebab` too: the converter's text, by whose ids it knows the tokenizer, does not hold that."""
    source = shared / "data" / "tokenizers" / "smollm2" / "tokenizer.json"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    content = json.loads(source.read_text(encoding="utf-8"))
    split = {"type": "Split", "pattern": {"String": "ebab"}, "behavior": "Isolated", "invert": False}
    content["pre_tokenizer"]["pretokenizers"].insert(0, split)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    model = random_llama(tmp_path / "model", tmp_path / "tokenizer.json")
    with pytest.raises(UsageError, match=r"differs first on 'camelCase PascalCase"):
        export(tmp_path / "out", model, "F16")
    assert not list((tmp_path / "out").iterdir())
