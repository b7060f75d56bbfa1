"""Models of the hub without a network: what a plan can say of them, and what it finds in the local cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgedistill import hub, models
from edgedistill.errors import UsageError
from edgedistill.sections import ModelConfig

REVISION = "ab12" * 10
PINNED = ModelConfig(model="org/name", revision=REVISION)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def downloaded(cache: Path, model: Path) -> Path:
    folder = cache / "models--org--name" / "snapshots" / REVISION
    shutil.copytree(model, folder)
    return folder


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "ab12", "AB12" * 10, "ab12" * 10 + "0"])
def test_only_a_full_commit_pins(revision):
    with pytest.raises(UsageError, match=r"teacher\.revision: .* does not pin hub model org/name") as caught:
        hub.check_pin(ModelConfig(model="org/name", revision=revision), "teacher")
    assert "40-digit commit" in caught.value.hint


@pytest.mark.usefixtures("cache")
def test_a_model_that_is_not_here_is_named_and_not_fetched(tmp_path):
    found = models.resolve(PINNED, tmp_path, "teacher", may_fetch=False)
    assert not found.is_here
    assert found.name == f"org/name@{REVISION}"
    assert found.identity()["model"] == f"org/name@{REVISION}"


def test_a_downloaded_model_is_opened_and_checked(cache, tmp_path, tiny_llama):
    folder = downloaded(cache, tiny_llama)
    found = models.resolve(PINNED, tmp_path, "teacher", may_fetch=False)
    assert found.is_here and found.path == folder
    assert found.key == models.resolve(ModelConfig(model=str(tiny_llama)), tmp_path, "teacher").key


def test_a_model_that_is_here_in_part_counts_as_not_downloaded(cache, tmp_path, tiny_llama):
    (downloaded(cache, tiny_llama) / "model.safetensors").unlink()
    assert not models.resolve(PINNED, tmp_path, "teacher", may_fetch=False).is_here


def test_every_file_of_the_index_must_be_there(cache, tmp_path, tiny_llama):
    folder = downloaded(cache, tiny_llama)
    parts = {"model.embed_tokens.weight": "one.safetensors", "model.norm.weight": "two.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    shutil.copyfile(folder / "model.safetensors", folder / "one.safetensors")
    assert not models.resolve(PINNED, tmp_path, "teacher", may_fetch=False).is_here
    shutil.copyfile(folder / "model.safetensors", folder / "two.safetensors")
    assert models.resolve(PINNED, tmp_path, "teacher", may_fetch=False).is_here


@pytest.mark.usefixtures("cache")
def test_a_build_without_a_network_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"^teacher\.model: cannot fetch org/name") as caught:
        models.resolve(PINNED, tmp_path, "teacher")
    assert "local folder" in caught.value.hint
