"""A chat template for a base model that comes without one: a folder of links to the model's files, and the template.

    ~/.cache/edgedistill/templates/<hash>/    links, and chat_template.jinja

Training, scoring, export and the app must render the same text, so the template has to be part of the model's folder;
a downloaded model's folder is never written to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from edgedistill.errors import UsageError
from edgedistill.toolchain.llama_cpp import cache_folder

NAME = "chat_template.jinja"


def laid_over(model: Path, template: Path, patterns: Sequence[str]) -> Path:
    """The model's files that match the patterns, with this template in place of any that it has."""
    try:
        text = template.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"chat_template: {template} cannot be read: {error}", "give a Jinja file") from None
    links = {
        path.name: path.resolve()
        for path in sorted(model.iterdir())
        if path.name != NAME and any(fnmatch(path.name, pattern) for pattern in patterns)
    }
    named = "\n".join([text, *(f"{name} {path}" for name, path in links.items())])
    folder = cache_folder() / "templates" / hashlib.sha256(named.encode()).hexdigest()[:16]
    if not folder.is_dir():
        _make(folder, links, text)
    return folder


def _make(folder: Path, links: dict[str, Path], template: str) -> None:
    """Under a name of its own first, so that another process never sees a part."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, path in links.items():
        (scratch / name).symlink_to(path)
    (scratch / NAME).write_text(template, encoding="utf-8")
    try:
        os.rename(scratch, folder)
    except OSError:  # another process was first
        shutil.rmtree(scratch)
        if not folder.is_dir():
            raise
