"""Whether teacher and student count in the same tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgedistill import yaml_file
from edgedistill.errors import UsageError
from edgedistill.models import Model
from edgedistill.vocabulary import Wording, learns_tokens

STUDENT = yaml_file.shipped("recipes") / "quickstart/models/student"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(STUDENT, folder)
    return folder


def padded(folder: Path, rows: int) -> Model:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
    return Model(folder, "padded")


def other_words(folder: Path) -> Model:
    """The same tokens but for one."""
    text = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = text["model"]["vocab"]
    first = next(iter(vocabulary))
    vocabulary[f"{first}{first}unheard"] = vocabulary.pop(first)
    text["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(text))
    return Model(folder, "other")


def test_the_same_tokenizer_and_size_will_do(copy: Path) -> None:
    assert learns_tokens(Model(copy, "t"), Model(STUDENT, "s"), "equal")


def test_padding_is_refused_with_the_repair_and_allowed_by_it(copy: Path) -> None:
    teacher = padded(copy, 2176)
    with pytest.raises(UsageError, match=r"embeddings of 2,176 and 2,048 rows") as raised:
        learns_tokens(teacher, Model(STUDENT, "s"), "equal")
    assert "distill.vocabulary: padded" in raised.value.hint
    assert learns_tokens(teacher, Model(STUDENT, "s"), "padded")


def test_another_tokenizer_is_refused_or_text_alone(copy: Path) -> None:
    teacher = other_words(copy)
    for rule in ("equal", "padded"):
        with pytest.raises(UsageError, match="different tokenizers") as raised:
            learns_tokens(teacher, Model(STUDENT, "s"), rule)  # type: ignore[arg-type]
        assert "text" in raised.value.hint
    assert not learns_tokens(teacher, Model(STUDENT, "s"), "text")


def test_students_with_other_weights_and_the_same_words_share_what_teachers_wrote(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert Wording(Model(copy, "b")).identity() == Wording(Model(STUDENT, "a")).identity()
    other_words(copy)
    assert Wording(Model(copy, "b")).identity() != Wording(Model(STUDENT, "a")).identity()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", None),
        ("special_tokens_map.json", "{}"),
        ("added_tokens.json", "{}"),
        ("generation_config.json", "{}"),
    ],
)
def test_whatever_turns_text_into_ids_and_ends_an_answer_is_part_of_the_wording(
    name: str, text: str | None, copy: Path
) -> None:
    before = Wording(Model(copy, "a")).identity()
    config = json.loads((copy / "config.json").read_text())
    (copy / name).write_text(text or json.dumps({**config, "eos_token_id": 7}))
    assert Wording(Model(copy, "b")).identity() != before


def test_the_size_of_a_student_is_no_part_of_its_wording(copy: Path) -> None:
    """So that one teacher writes once for a whole family."""
    before = Wording(Model(copy, "a")).identity()
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 99}))
    assert Wording(Model(copy, "b")).identity() == before
