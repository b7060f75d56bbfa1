"""Model folders: unsafe and incomplete ones are refused with the reason, before anything is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from edgedistill import components, models
from edgedistill.errors import UsageError
from edgedistill.sections import ModelConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole folder made by hand: 8 tokens, 2 hidden, tied. Only headers are read, so the weights are zeros."""
    made = tmp_path / "model"
    made.mkdir()
    write_json(made / "config.json", {
        "architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 2, "num_attention_heads": 1,
        "num_hidden_layers": 1,
    })  # fmt: skip
    write_json(made / "tokenizer_config.json", {"eos_token": "a"})
    write_json(made / "tokenizer.json", {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 7}]})
    (made / "chat_template.jinja").write_text("{{ messages }}")
    write_safetensors(made / "model.safetensors", {"model.embed_tokens.weight": [8, 2], "model.norm.weight": [2]})
    return made


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * (shape[0] * (shape[1] if len(shape) > 1 else 1))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def change(path: Path, **values: object) -> None:
    write_json(path, {**json.loads(path.read_text()), **values})


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        models.check(folder, "student")
    assert str(folder) in caught.value.problem
    assert caught.value.hint
    return caught.value.problem


def test_a_whole_folder_is_accepted_and_measured(folder):
    models.check(folder, "student")
    shape = models.shape_of(folder)
    assert (shape.parameters, shape.vocab, shape.tied, shape.kv_heads, shape.head_size) == (18, 8, True, 1, 2)


def test_pickle_weights_are_refused_and_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    assert "pytorch_model.bin" in (found := refused(folder))
    assert "can run code when loaded" in found
    assert "safetensors" in found


def test_pickle_weights_beside_safetensors_are_no_harm(folder):
    """Hub folders often hold both; only safetensors are read."""
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    models.check(folder, "student")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_refused(folder, name):
    (folder / name).write_text("{}")
    assert f"{name}: an adapter, not a whole model; merge it into its base first" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_the_model_is_refused(folder, name):
    change(folder / name, auto_map={"AutoModel": "evil.Model"})
    assert f"{name} has `auto_map`" in refused(folder)


def test_missing_parts_are_all_named_at_once(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "model.safetensors").unlink()
    found = refused(folder)
    for reason in ("no *.safetensors file", "no tokenizer.json or tokenizer.model", "no chat template"):
        assert reason in found


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"null"])
def test_settings_that_cannot_be_read(folder, name, content):
    (folder / name).write_bytes(content)
    assert name in refused(folder)


def test_a_config_without_architecture(folder):
    content = json.loads((folder / "config.json").read_text())
    del content["architectures"]
    write_json(folder / "config.json", content)
    assert "names no architecture" in refused(folder)
    for none in (None, [], [None], 3):
        change(folder / "config.json", architectures=none)
        assert "names no architecture" in refused(folder)


@pytest.mark.parametrize("change_to", [{"text_config": None}, {"text_config": []}])
def test_a_config_of_another_layout(folder, change_to):
    change(folder / "config.json", **change_to)
    assert "cannot be read: " in refused(folder)


def test_an_embedding_without_rows(folder):
    write_safetensors(folder / "model.safetensors", {"model.norm.weight": [2]})
    path = folder / "model.safetensors"
    path.write_bytes(
        path.read_bytes()
        .replace(b"model.norm.weight", b"models.wte.weight")
        .replace(b"[2]", b"[ ]")
        .replace(b"4]", b"2]")
    )
    assert "models.wte.weight is a single number" in refused(folder)


def test_a_file_that_is_cut_short_is_named_with_its_tensor(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert "is cut short: the data of tensor model.norm.weight ends 3 bytes beyond the file" in refused(folder)


def test_a_tensor_without_rows(folder):
    write_safetensors(folder / "model.safetensors", {"model.embed_tokens.weight": [8, 2], "model.norm.weight": [0]})
    assert "tensor model.norm.weight has no numbers, its shape is (0,)" in refused(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"[8, 2]", b"[9, 2]", "of shape (9, 2) in BF16 has 32 bytes"),
        (b"BF16", b"BG16", "has the unknown type 'BG16'"),
        (b"[0, 32]", b"[8, 32]", "of shape (8, 2) in BF16 has 24 bytes"),
        (b"data_offsets", b"data_ofgsets", "unknown layout (KeyError: 'data_offsets')"),
    ],
)
def test_a_flipped_bit_in_the_header(folder, old, new, says):
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new, 1))
    assert says in refused(folder)


def test_shards_that_the_index_names_and_the_folder_lacks(folder):
    places = {"model.embed_tokens.weight": "model.safetensors", "lm_head.weight": "model-2.safetensors"}
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    assert "names model-2.safetensors, which is not there" in refused(folder)
    places["lm_head.weight"] = "model.safetensors"
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    assert "tensor lm_head.weight is missing in model.safetensors" in refused(folder)


def test_no_chat_template_offers_the_base_models_and_a_plain_one(folder):
    (folder / "chat_template.jinja").unlink()
    (folder / "README.md").write_text("---\nbase_model: org/Base-1B\n---\n")
    said = refused(folder)
    assert "`plain`" in said and "org/Base-1B" in said


def test_an_embedding_of_another_size_than_the_config_says(folder):
    change(folder / "config.json", vocab_size=9)
    assert "config.json says 9, the embedding has 8 rows" in refused(folder)


def test_a_token_without_a_row(folder):
    write_json(folder / "tokenizer.json", {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 8}]})
    assert "the tokenizer's highest id is 8, the model has 8 rows" in refused(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01\x02", struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 5) + b"{", struct.pack("<Q", 2) + b"[]",
     struct.pack("<Q", 2) + b"\xff\xff", struct.pack("<Q", 13) + b'{"a": "text"}',
     struct.pack("<Q", 15) + b'{"a": {"b": 1}}'],
    ids=["empty", "short", "huge", "cut", "list", "bytes", "text", "no shape"],
)  # fmt: skip
def test_weights_with_a_broken_header(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert "cannot be read" in refused(folder)


@pytest.mark.parametrize("change_to", [{"num_attention_heads": 0}, {"vocab_size": "many"}, {"hidden_size": None}])
def test_a_config_with_impossible_numbers(folder, change_to):
    change(folder / "config.json", **change_to)
    refused(folder)


@pytest.mark.parametrize("content", [[], {"model": []}, {"added_tokens": [{}]}, {"model": {"vocab": {"a": "b"}}}])
def test_a_tokenizer_with_an_impossible_layout(folder, content):
    write_json(folder / "tokenizer.json", content)
    assert "cannot be read: tokenizer.json" in refused(folder)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UsageError, match=r"teacher\.model: folder .* does not exist"):
        models.resolve(ModelConfig(model="./none"), tmp_path, "teacher")


@pytest.mark.parametrize("revision", [None, "main", "abc123"])
def test_a_hub_model_needs_a_whole_revision(tmp_path, revision):
    with pytest.raises(UsageError, match=r"teacher\.revision: .* does not pin hub model org/name"):
        models.resolve(ModelConfig(model="org/name", revision=revision), tmp_path, "teacher")


def test_key_is_of_the_content_and_not_of_the_place(folder, tmp_path):
    here = models.resolve(ModelConfig(model="model"), tmp_path, "student")
    shutil.copytree(folder, tmp_path / "other")
    there = models.resolve(ModelConfig(model="other"), tmp_path, "student")
    assert here.key == there.key
    change(tmp_path / "other" / "config.json", rope_theta=5)
    assert models.resolve(ModelConfig(model="other"), tmp_path, "student").key != here.key


def test_identity_follows_engine_version_licence_and_licence_texts(folder, tmp_path, monkeypatch):
    def identity() -> dict:
        return models.resolve(ModelConfig(model="model"), tmp_path, "student").identity()

    plain = identity()
    assert plain["engine"].startswith("hf@")
    (folder / "README.md").write_text("license: mit\n")
    stated = identity()
    (folder / "LICENSES").mkdir()
    assert identity() == stated
    (folder / "LICENSE.txt").write_text("do what you like")
    written = identity()
    monkeypatch.setattr(components.load("engines", "hf"), "VERSION", 99)
    newer = identity()
    changed = [{key for key in plain if one[key] != two[key]} for one, two in
               ((plain, stated), (stated, written), (written, newer))]  # fmt: skip
    assert changed == [{"licence"}, {"licence_texts"}, {"engine"}]


def test_home_is_expanded(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.resolve(ModelConfig(model="~/model"), tmp_path / "elsewhere", "student").path == folder


def test_home_of_a_user_who_does_not_exist(tmp_path):
    with pytest.raises(UsageError, match=r"student\.model: folder .* does not exist"):
        models.resolve(ModelConfig(model="~nobody-of-that-name/model"), tmp_path, "student")


def test_licence_is_read_from_the_card(folder, tmp_path):
    assert models.resolve(ModelConfig(model="model"), tmp_path, "student").licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    assert models.resolve(ModelConfig(model="model"), tmp_path, "student").licence == "mit"


@pytest.mark.parametrize("fixture", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_models_of_three_architectures_are_accepted(fixture, request):
    path = request.getfixturevalue(fixture)
    models.check(path, "student")
    loaded = models.shape_of(path)
    from safetensors import safe_open

    with safe_open(path / "model.safetensors", "pt") as file:
        counted = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert loaded.parameters == counted
