"""Do teacher and student count in the same tokens? Logits can be compared only where they do.

Three cases: the same tokenizer and as many rows in the embedding; the same tokenizer, but an embedding that is padded
to another number of rows (Qwen2.5: 151,936 for 0.5B, 152,064 for 7B), whose further rows stand for nothing; another
tokenizer. `vocabulary` of a recipe says what is done about it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgedistill.errors import UsageError
from edgedistill.files import read_json, sha256_of
from edgedistill.models import Model

Rule = Literal["equal", "padded", "text"]

_WORDING = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
_OF_CONFIG = ("vocab_size", "eos_token_id")
"""What of config.json says where the ids end, and an answer."""


@dataclass(frozen=True)
class Wording:
    """A student's tokenizer and chat template, without its weights: what turns rows into token ids."""

    model: Model

    def identity(self) -> dict[str, Any]:
        """The same for every student that has these files; the model's key where they are not here yet."""
        files = [self.model.path / name for name in _WORDING]
        if not files[0].is_file():
            return {"wording_of": self.model.key}
        config = read_json(self.model.path / "config.json")
        sections = [config, config.get("text_config", {})]
        told = [[section.get(name) for name in _OF_CONFIG] for section in sections]
        digest = hashlib.sha256(json.dumps(told).encode())
        for file in files:
            digest.update(f" {file.name} {sha256_of(file) if file.is_file() else '-'}".encode())
        return {"wording": digest.hexdigest()[:32]}


def learns_tokens(teacher: Model, student: Model, rule: Rule) -> bool:
    """Whether the student can learn from the teacher's distributions; False: from its text alone, as `text` allows.

    A model on a server is taken at its word: nobody here sees its tokenizer.
    Raises  UsageError where the rule forbids what is found
    """
    if teacher.server is not None:
        return True
    if not _are_the_same(teacher.path, student.path):
        if rule == "text":
            return False
        raise UsageError(
            f"distill: teacher {teacher.name or teacher.path} and student {student.name or student.path} have different"
            " tokenizers, so their distributions cannot be compared",
            "choose a teacher of the student's family, or set `distill.vocabulary: text`: the student then learns from"
            " the teacher's text alone",
        )
    theirs, ours = rows_of(teacher), rows_of(student)
    if theirs != ours and rule == "equal":
        raise UsageError(
            f"distill: teacher and student have the same tokenizer, but embeddings of {theirs:,} and {ours:,} rows",
            "set `distill.vocabulary: padded`: rows beyond the tokenizer stand for nothing and are left out",
        )
    return True


def rows_of(model: Model) -> int:
    """Rows of the embedding, as config.json says."""
    config = read_json(model.path / "config.json")
    return int(config.get("text_config", config)["vocab_size"])


def _are_the_same(one: Path, other: Path) -> bool:
    """By their files where these are the same, which needs no tokenizer."""
    files = [path / "tokenizer.json" for path in (one, other)]
    if all(file.is_file() for file in files) and sha256_of(files[0]) == sha256_of(files[1]):
        return True
    return _tokens(one) == _tokens(other)


def _tokens(path: Path) -> dict[str, int]:
    """Text -> id, added tokens included."""
    from tokenizers import Tokenizer

    if not (path / "tokenizer.json").is_file():
        raise UsageError(
            f"distill: {path} has no tokenizer.json, so its vocabulary cannot be compared with another one",
            "choose a model that has one, or a method that reads text, like `seqkd`",
        )
    found: dict[str, int] = Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab(with_added_tokens=True)
    return found
