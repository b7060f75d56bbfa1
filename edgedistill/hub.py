"""Models of the Hugging Face hub: pinned to a commit, fetched by a build, looked up without a network by `plan`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgedistill.errors import UsageError
from edgedistill.sections import ModelConfig


def check_pin(config: ModelConfig, role: str) -> None:
    """Refuse a hub id without a full commit: a branch or tag can mean other weights tomorrow."""
    if not config.revision or not re.fullmatch(r"[0-9a-f]{40}", config.revision):
        raise UsageError(
            f"{role}.revision: {config.revision!r} does not pin hub model {config.model}",
            "give the full 40-digit commit, so that the same recipe always means the same weights",
        )


def fetch(config: ModelConfig, role: str, patterns: Sequence[str]) -> Path:
    """The folder of a model's files at its pinned revision, downloaded where they are not here yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(config.model, revision=config.revision, allow_patterns=list(patterns)))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UsageError(
            f"{role}.model: cannot fetch {config.model}: {error}",
            "check the id and the network, and for a model behind a licence log in with `hf auth login`; "
            "or give a local folder",
        ) from error


def found(config: ModelConfig) -> Path | None:
    """The folder in the hub's local cache; None when the model, or a part of it, was not downloaded."""
    from huggingface_hub import try_to_load_from_cache

    card = try_to_load_from_cache(config.model, "config.json", revision=config.revision)
    if not isinstance(card, str):
        return None
    folder = Path(card).parent
    index = folder / "model.safetensors.index.json"
    shards = (
        set(re.findall(r'"([^"/]+\.safetensors)"', index.read_text())) if index.is_file() else {"model.safetensors"}
    )
    return folder if all((folder / name).is_file() for name in shards) else None
