"""A causal language model on disk in Hugging Face layout: found, checked, measured. Reads headers, never weights.

Security: safetensors only, nothing that runs code on load (`auto_map`, pickle), headers read with limits.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import re
import shutil
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import chat_template, components, hub, sentencepiece_file
from edgedistill.errors import UsageError
from edgedistill.files import licence_texts, read_json, sha256_of
from edgedistill.sections import ModelConfig

ALLOWED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "model.safetensors.index.json",
)
"""What a copy of a model for another program may hold, beside *.safetensors."""

FETCHED = (*ALLOWED, "*.safetensors", "README.md", "LICENSE*")
"""What of a hub model is downloaded."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_ADAPTERS = ("adapter_config.json", "adapter_model.*")
"""What would have a loader fetch a base model on its own."""
_HEADER_LIMIT = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Of one number, by its type's name in a safetensors header."""


@dataclass(frozen=True)
class Shape:
    """What the fit arithmetic needs to know of a model."""

    architecture: str
    layers: int
    hidden: int
    kv_heads: int
    head_size: int
    vocab: int
    tied: bool
    tensors: dict[str, tuple[int, ...]]
    """Name -> dimensions."""

    @property
    def parameters(self) -> int:
        return sum(math.prod(dimensions) for dimensions in self.tensors.values())


@dataclass(frozen=True)
class Loading:
    """How engine `hf` holds a model; the fields are those of `ModelConfig`."""

    device_map: str | None = None
    load_in_4bit: bool = False
    dtype: str | None = None

    def identity(self) -> dict[str, Any]:
        """What can change answers, where it is not the default: the device map cannot."""
        return {
            **({"load_in_4bit": True} if self.load_in_4bit else {}),
            **({"dtype": self.dtype} if self.dtype else {}),
        }


@dataclass(frozen=True)
class Model:
    """A checked model folder, or one that a stage is going to leave there (`build` in dry mode)."""

    path: Path
    key: str
    """Of the weights and tokenizer: a hash of the files, or the key of the stage that made them."""
    engine: str = "hf"
    """Which file in engines/ runs it."""
    name: str = ""
    """What the recipe calls it: folder or hub id with revision."""
    licence: str = "unknown"
    """As the model card states it."""
    server: ModelConfig | None = None
    """Who answers for it, where there is no folder: engine `openai`."""
    loading: Loading = Loading()

    def identity(self) -> dict[str, Any]:
        """Hash of the weights, the engine's version, and the licence with its texts, which the bundle repeats."""
        return {
            "model": self.key,
            "engine": f"{self.engine}@{components.load('engines', self.engine).VERSION}",
            "licence": self.licence,
            "licence_texts": {path.name: sha256_of(path) for path in licence_texts(self.path)},
            **self.loading.identity(),
        }

    @property
    def is_here(self) -> bool:
        """False for a hub model that a build would fetch first."""
        return self.server is not None or self.path.is_dir()

    def shape(self) -> Shape:
        return shape_of(self.path)

    def files(self) -> list[Path]:
        """The allow-listed files, sorted."""
        return sorted(p for p in self.path.iterdir() if p.name in ALLOWED or p.suffix == ".safetensors")


def resolve(config: ModelConfig, folder: Path, role: str, *, may_fetch: bool = True) -> Model:
    """The model that a recipe names, checked; a hub id is fetched at its pinned revision.

    Without `may_fetch` nothing is fetched: a hub model that is not here is given as one that a build would fetch.
    A server is not asked either: its model is known by the address, the name and what else a request says.
    Raises  UsageError for a folder that is missing, unsafe or not complete.
    """
    if config.base_url is not None:
        return _on_a_server(config)
    local = folder / os.path.expanduser(config.model)
    if local.is_dir():
        return _opened(config, folder, role, local.resolve(), config.model)
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", config.model) and not config.model.startswith(".")
    if not is_hub_id or (config.revision is None and local.parent.is_dir()):
        raise UsageError(
            f"{role}.model: folder {local} does not exist",
            "give a folder, or a hub id like `org/name` with its `revision`",
        )
    hub.check_pin(config, role)
    name = f"{config.model}@{config.revision}"
    path = hub.fetch(config, role, FETCHED) if may_fetch else hub.found(config)
    if path is None:
        return Model(Path(name), name, config.engine, name, loading=_loading(config))
    return _opened(config, folder, role, path, name)


def _on_a_server(config: ModelConfig) -> Model:
    """The key holds what the recipe says, since a server's list names no weights: `--fresh` after they changed."""
    name = f"{config.model} at {config.base_url}"
    said = json.dumps(config.extra_body, sort_keys=True) if config.extra_body else ""
    return Model(Path(name), f"{name} {said}".strip(), config.engine, name, server=config)


def _loading(config: ModelConfig) -> Loading:
    return Loading(config.device_map, config.load_in_4bit, config.dtype)


def _opened(config: ModelConfig, folder: Path, role: str, path: Path, name: str) -> Model:
    if config.chat_template:
        path = chat_template.laid_over(path, config.chat_template, folder, FETCHED)
    check(path, role)
    model = Model(path, "", config.engine, name, _licence(path), loading=_loading(config))
    digest = hashlib.sha256()
    for file in model.files():
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return replace(model, key=digest.hexdigest())


def clean_copy(student: Model, folder: Path) -> Path:
    """Only the files that a converter needs, none that could run code. Weights are links, so that they take no room;
    UsageError when the model is not safe."""
    folder.mkdir()
    for file in student.files():
        if file.suffix == ".safetensors":
            (folder / file.name).symlink_to(file.resolve())
        else:  # a program that rewrites its settings must not reach the user's
            shutil.copyfile(file, folder / file.name)
    check(folder, "student")
    return folder


def check(path: Path, role: str) -> None:
    """Refuse a folder that could run code, or that a later stage would stumble over; every reason at once."""
    problems = []
    weights = sorted(path.glob("*.safetensors"))
    pickles = sorted(found.name for pattern in _PICKLES for found in path.glob(pattern))
    if not weights:
        problems.append(
            f"weights are pickle files ({', '.join(pickles)}), which can run code when loaded; save them as safetensors"
            if pickles
            else "no *.safetensors file"
        )
    adapters = sorted(found.name for pattern in _ADAPTERS for found in path.glob(pattern))
    if adapters:
        problems.append(f"{', '.join(adapters)}: an adapter, not a whole model; merge it into its base first")
    config = _json_or(path / "config.json", problems)
    tokenizer = _json_or(path / "tokenizer_config.json", problems)
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        if "auto_map" in content:
            problems.append(f"{name} has `auto_map`, code of its own; this tool never runs a model's code")
    if not (path / "tokenizer.json").is_file() and not (path / "tokenizer.model").is_file():
        problems.append("no tokenizer.json or tokenizer.model")
    if not (path / "chat_template.jinja").is_file() and not tokenizer.get("chat_template"):
        problems.append(_no_template(path))
    named = config.get("architectures")
    if config and not (isinstance(named, list) and named and isinstance(named[0], str)):
        problems.append("config.json names no architecture")
    if not problems:
        problems += _vocabulary_problems(path)
    if problems:
        lines = "\n".join(f"  {line}" for line in problems)
        raise UsageError(f"{role} model {path} cannot be used\n{lines}", "mend the folder, or choose another model")


def _no_template(path: Path) -> str:
    base = _in_card(path, "base_model")
    of_base = f" ({base}, its card says)" if base else ""
    return (
        "no chat template (chat_template.jinja, or `chat_template` in tokenizer_config.json). Give one as "
        f"`chat_template` (`--chat-template`): a Jinja file, a folder with the model it was tuned from{of_base}, or "
        "`plain` for a model that continues bare text"
    )


def _json_or(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        problems.append(f"no {path.name}")
        return {}
    except ValueError as error:
        problems.append(f"{path.name} is not JSON: {error}")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} holds {type(content).__name__}, expected an object")
        return {}
    return content


def _vocabulary_problems(path: Path) -> list[str]:
    """Token ids that have no row in the embedding would crash in training, or read memory beyond it in a runtime."""
    try:
        shape = shape_of(path)
        highest = _highest_token_id(path)
        rows = _embedding_rows(shape)
        found = _index_problems(path)
    except (ValueError, OSError, LookupError, TypeError, AttributeError) as error:
        return [f"cannot be read: {error}"]
    if rows and rows != shape.vocab:
        found.append(f"vocabulary mismatch: config.json says {shape.vocab}, the embedding has {rows} rows")
    if highest >= shape.vocab:
        found.append(f"vocabulary mismatch: the tokenizer's highest id is {highest}, the model has {shape.vocab} rows")
    return found


def _embedding_rows(shape: Shape) -> int:
    """0 where no tensor is known to be the embedding."""
    for name, size in shape.tensors.items():
        if name.endswith(("embed_tokens.weight", "wte.weight")):
            if not size:
                raise ValueError(f"{name} is a single number, expected rows")
            return size[0]
    return 0


def _highest_token_id(path: Path) -> int:
    if not (path / "tokenizer.json").is_file():
        return _highest_piece(path)
    content = read_json(path / "tokenizer.json")
    try:
        vocab = content.get("model", {}).get("vocab", {})
        ids = list(vocab.values()) if isinstance(vocab, dict) else [len(vocab) - 1]
        ids += [token["id"] for token in content.get("added_tokens", [])]
        return max(map(operator.index, ids), default=-1)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"tokenizer.json has an unknown layout ({type(error).__name__}: {error})") from None


def _highest_piece(path: Path) -> int:
    """Of a folder whose vocabulary is a `tokenizer.model`, with the tokens that other files add to it."""
    highest = sentencepiece_file.pieces(path / "tokenizer.model") - 1
    added = path / "added_tokens.json"
    given = list(read_json(added).values()) if added.is_file() else []
    given += read_json(path / "tokenizer_config.json").get("added_tokens_decoder", {})
    return max(highest, *map(int, given)) if given else highest


def shape_of(path: Path) -> Shape:
    """Dimensions from config.json and the safetensors headers, without buffers that old checkpoints store."""
    config = read_json(path / "config.json")
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        raise ValueError(f"config.json: text_config is {text!r}, expected an object")

    def number(*names: str, default: int) -> int:
        found = next((text[name] for name in names if text.get(name) is not None), default)
        if not isinstance(found, int) or found < 1:
            raise ValueError(f"config.json: {names[0]} is {found!r}, expected a positive number")
        return found

    heads = number("num_attention_heads", "n_head", default=1)
    hidden = number("hidden_size", "n_embd", default=0)
    tensors: dict[str, tuple[int, ...]] = {}
    for file in sorted(path.glob("*.safetensors")):
        tensors |= {name: size for name, size in _header(file).items() if not _is_buffer(name, size)}
    if text.get("tie_word_embeddings", config.get("tie_word_embeddings")) is True:
        tensors.pop("lm_head.weight", None)  # a stored head that nobody reads
    return Shape(
        architecture=config["architectures"][0],
        layers=number("num_hidden_layers", "n_layer", default=0),
        hidden=hidden,
        kv_heads=number("num_key_value_heads", default=heads),
        head_size=number("head_dim", default=hidden // heads),
        vocab=number("vocab_size", default=0),
        tied=not any(name.endswith("lm_head.weight") for name in tensors),
        tensors=tensors,
    )


def buffers_of(path: Path) -> list[str]:
    """Names of what old checkpoints store beside the weights, and every loader computes itself."""
    headers = (_header(file) for file in sorted(path.glob("*.safetensors")))
    return [name for header in headers for name, size in header.items() if _is_buffer(name, size)]


def _is_buffer(name: str, size: tuple[int, ...]) -> bool:
    """Attention masks and rotary frequencies: computed from the settings, and left out by every converter.

    Source  llama.cpp's conversion/base.py and conversion/gpt2.py; a mask is (1, 1, context, context), a real bias a row
    """
    is_mask = name.endswith((".attn.bias", ".attention.bias")) and len(size) == 4
    return is_mask or name.endswith((".masked_bias", ".rotary_emb.inv_freq"))


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and dimensions. Layout: u64 length, then JSON (safetensors format, version 0.4)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(8)
        length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else -1
        if not 0 < length <= min(_HEADER_LIMIT, size - 8):
            raise ValueError(f"{path.name} is not a safetensors file (header length {length}, file {size} bytes)")
        header = json.loads(file.read(length))
    try:
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: tuple(map(operator.index, entry["shape"])) for name, entry in entries.items()}
        for name, shape in shapes.items():
            _check_place(path.name, name, shape, entries[name], size - 8 - length)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} has a header of unknown layout ({type(error).__name__}: {error})") from None
    return shapes


def _check_place(file: str, name: str, shape: tuple[int, ...], entry: dict[str, Any], room: int) -> None:
    """A tensor has rows, and its data lies within the file and has the size of its shape."""
    if not all(size > 0 for size in shape):
        raise ValueError(f"{file}: tensor {name} has no numbers, its shape is {shape}")
    begin, end = map(operator.index, entry["data_offsets"])
    bits = _BITS.get(entry["dtype"])
    if bits is None:
        raise ValueError(f"{file}: tensor {name} has the unknown type {entry['dtype']!r}")
    if not 0 <= begin <= end or (end - begin) * 8 != math.prod(shape) * bits:
        raise ValueError(f"{file}: tensor {name} of shape {shape} in {entry['dtype']} has {end - begin} bytes")
    if end > room:
        raise ValueError(f"{file} is cut short: the data of tensor {name} ends {end - room} bytes beyond the file")


def _index_problems(path: Path) -> list[str]:
    """What the list of shards promises and the folder does not hold."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return []
    places = read_json(index)["weight_map"]
    held = {file: _header(path / file) for file in sorted(set(places.values())) if (path / file).is_file()}
    gone = sorted(set(places.values()) - held.keys())
    found = [f"{index.name} names {', '.join(gone)}, which is not there"] if gone else []
    lost = [name for name, file in places.items() if file in held and name not in held[file]]
    return found + [f"tensor {name} is missing in {places[name]}" for name in lost[:5]]


def _licence(path: Path) -> str:
    return _in_card(path, "license") or "unknown"


def _in_card(path: Path, key: str) -> str:
    """A value of the model card's head; empty where there is none."""
    card = path / "README.md"
    if not card.is_file():
        return ""
    found = re.search(rf"^{key}:\s*(\S+)\s*$", card.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found.group(1) if found else ""
