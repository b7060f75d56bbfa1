"""A base model gets the recipe's chat template, and its own folder stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill import models
from edgedistill.errors import UsageError
from edgedistill.sections import ModelConfig

PLAIN = Path(__file__).resolve().parent.parent / "recipes" / "arte-bbh-gemma-2b" / "plain.jinja"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_base_model_is_refused_without_a_template_and_works_with_one(tmp_path, tiny_gemma_base):
    before = sorted(path.name for path in tiny_gemma_base.iterdir())
    with pytest.raises(UsageError, match="no chat template"):
        models.resolve(ModelConfig(model=str(tiny_gemma_base)), tmp_path, "student")
    found = models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template=str(PLAIN)), tmp_path, "student")
    assert (found.path / "chat_template.jinja").read_text() == PLAIN.read_text()
    assert found.shape() == models.shape_of(tiny_gemma_base)
    assert found.licence == "apache-2.0"
    assert sorted(path.name for path in tiny_gemma_base.iterdir()) == before


def test_another_template_is_another_model(tmp_path, tiny_gemma_base):
    (tmp_path / "other.jinja").write_text("{{ messages[0]['content'] }}")
    keys = {
        models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template=name), tmp_path, "student").key
        for name in (str(PLAIN), str(PLAIN), "other.jinja")
    }
    assert len(keys) == 2


def test_a_template_in_place_of_the_models_own(tmp_path, tiny_llama):
    found = models.resolve(ModelConfig(model=str(tiny_llama), chat_template=str(PLAIN)), tmp_path, "student")
    assert (
        (found.path / "chat_template.jinja").read_text()
        == PLAIN.read_text()
        != (tiny_llama / "chat_template.jinja").read_text()
    )


def test_a_template_that_is_not_there_is_named(tmp_path, tiny_gemma_base):
    with pytest.raises(UsageError, match=r"chat_template: .*none\.jinja cannot be read"):
        models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template="none.jinja"), tmp_path, "student")


def test_the_papers_plain_text_is_what_the_student_sees(tmp_path, tiny_gemma_base):
    """Begin token, prompt, a space, answer, end token: nothing of a chat."""
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    found = models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template=str(PLAIN)), tmp_path, "student")
    tokenizer = load_tokenizer(found.path)
    [turn] = turns(tokenizer, end_ids(found.path, tokenizer), [("Answer: Let's think.", "So <ans>4</ans>")])
    assert tokenizer.decode(turn.prompt_ids) == "<bos>Answer: Let's think."
    assert tokenizer.decode(turn.completion_ids) == " So <ans>4</ans><eos>"
