"""A chat template for a base model that comes without one: a folder of links to the model's files, and the template.

    ~/.cache/edgedistill/templates/<hash>/    links, and chat_template.jinja

Training, scoring, export and the app must render the same text, so the template has to be part of the model's folder;
a downloaded model's folder is never written to. A model never gets a template that nobody named: a wrong one is the
most frequent reason why a packaged model answers badly.
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
from edgedistill.files import read_json
from edgedistill.toolchain.llama_cpp import cache_folder

NAME = "chat_template.jinja"


PLAIN = "plain"
"""Names the built-in template for models that continue text: what was said, line by line, and nothing around it."""
_BARE = "{% for message in messages %}{{ message['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
_AFTER_BEGIN = "{{ bos_token }}" + _BARE


def laid_over(model: Path, named: str, beside: Path, patterns: Sequence[str]) -> Path:
    """The model's files that match the patterns, with another template in place of any that it has.

    named    `plain`, a Jinja file, or a folder with the model whose template it is
    beside   what relative paths are relative to
    """
    text = _plain(model) if named == PLAIN else _read(beside / os.path.expanduser(named))
    links = {
        path.name: path.resolve()
        for path in sorted(model.iterdir())
        if path.name != NAME and any(fnmatch(path.name, pattern) for pattern in patterns)
    }
    content = "\n".join([text, *(f"{name} {path}" for name, path in links.items())])
    folder = cache_folder() / "templates" / hashlib.sha256(content.encode()).hexdigest()[:16]
    if not folder.is_dir():
        _make(folder, links, text)
    return folder


def text_of(model: Path) -> str | None:
    """The template of a model's folder: its own file, or the one in tokenizer_config.json; None where it has none."""
    own, config = model / NAME, model / "tokenizer_config.json"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    given = read_json(config).get("chat_template") if config.is_file() else None
    if isinstance(given, list):  # several, by name
        given = next((entry["template"] for entry in given if entry["name"] == "default"), None)
    return given if isinstance(given, str) else None


def _read(path: Path) -> str:
    try:
        text = text_of(path) if path.is_dir() else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"chat_template: {path} cannot be read: {error}", "give a Jinja file") from None
    if text is None:
        raise UsageError(f"chat_template: the model in {path} has none either", "give a Jinja file, or `plain`")
    return text


def _plain(model: Path) -> str:
    """With the begin token where the tokenizer itself puts one before a text: the model was trained behind it."""
    config = model / "tokenizer_config.json"
    given = read_json(config).get("add_bos_token") if config.is_file() else None
    if isinstance(given, bool):
        return _AFTER_BEGIN if given else _BARE
    whole = model / "tokenizer.json"
    if not whole.is_file():
        return _AFTER_BEGIN  # SentencePiece alone: its tokenizers put one, unless told otherwise
    after = read_json(whole).get("post_processor") or {}
    steps = after.get("processors", [after])
    parts = [part for step in steps for part in step.get("single", [])]
    return _AFTER_BEGIN if "SpecialToken" in (parts[0] if parts else {}) else _BARE


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
