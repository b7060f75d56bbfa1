"""A student without room for one example, one question and an answer is refused, with the numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgedistill import context, task
from edgedistill.artifacts import Draft
from edgedistill.errors import UsageError
from edgedistill.models import Model
from edgedistill.prompts import Example, plain_prompt
from edgedistill.signals.icl_accuracy import Config

STUDENT = Path(__file__).resolve().parent.parent / "recipes/quickstart/models/student"


@pytest.fixture
def narrow(tmp_path: Path) -> Any:
    """(positions) -> the embedded student's tokenizer in a model with so many positions."""

    def make(positions: int) -> Model:
        folder = tmp_path / f"{positions}"
        folder.mkdir()
        shutil.copy(STUDENT / "tokenizer.json", folder)
        (folder / "config.json").write_text(json.dumps({"max_position_embeddings": positions}))
        return Model(folder, "narrow")

    return make


@pytest.fixture
def home() -> task.Task:
    return task.load(STUDENT.parent.parent / "home")


def test_a_context_that_is_too_short_is_refused_with_the_numbers(narrow: Any, home: task.Task) -> None:
    with pytest.raises(
        UsageError, match=r"context of 96 tokens is too short for task `home`: .* take \d+ tokens"
    ) as raised:
        context.check(narrow(96), [home], Config(max_tokens=80))
    assert "up to 80" in raised.value.problem and "prefer.max_tokens" in raised.value.hint


def test_the_embedded_student_has_room(home: task.Task) -> None:
    context.check(Model(STUDENT, "student"), [home], Config(max_tokens=80))


def test_drafts_that_do_not_fit_are_told_from_those_that_do(narrow: Any, home: task.Task) -> None:
    """Room for exactly the prompt with the short draft: 16 for the template, 80 for the answer."""
    from tokenizers import Tokenizer

    short, long = (
        Draft(f"home/{n}/bare", "home", "turn on the light", "x", "bare", "lamp on. <ans>x</ans> " * n) for n in (1, 40)
    )
    item = max((item.question for item in home.validation), key=len)
    text = plain_prompt(home.info.description, item, (Example(short.question, short.rationale),))
    tokens = len(Tokenizer.from_file(str(STUDENT / "tokenizer.json")).encode(text, add_special_tokens=False).ids)
    config = Config(max_tokens=80)
    assert context.fitting([short, long], narrow(tokens + 16 + 80), home, config) == [short]
    assert context.fitting([short, long], narrow(tokens + 16 + 79), home, config) == []


def test_a_model_whose_files_do_not_say_is_not_asked(tmp_path: Path, home: task.Task) -> None:
    nowhere = Model(tmp_path / "nowhere", "server")
    context.check(nowhere, [home], Config())
    assert context.positions(nowhere) is None
