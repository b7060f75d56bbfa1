"""A base model gets the recipe's chat template, and its own folder stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jinja2
import pytest

from edgedistill import chat_template, models
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


def test_plain_is_the_bare_text_behind_the_begin_token_where_the_tokenizer_puts_one(tmp_path, tiny_gemma_base):
    """The tokenizer of the base model says `add_bos_token`; a copy says that it does not."""
    said = models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template="plain"), tmp_path, "student")
    bare = shutil.copytree(tiny_gemma_base, tmp_path / "bare")
    config = json.loads((bare / "tokenizer_config.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({**config, "add_bos_token": False}))
    other = models.resolve(ModelConfig(model=str(bare), chat_template="plain"), tmp_path, "student")
    asked = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    texts = [chat_template.text_of(found.path) or "" for found in (said, other)]
    assert [jinja2.Template(text).render(messages=asked, bos_token="<bos>") for text in texts] == ["<bos>a\nb", "a\nb"]


def test_plain_asks_tokenizer_json_where_the_config_is_silent(tmp_path, tiny_gemma_base):
    silent = shutil.copytree(tiny_gemma_base, tmp_path / "silent")
    (silent / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>"}))
    found = models.resolve(ModelConfig(model=str(silent), chat_template="plain"), tmp_path, "student")
    assert (chat_template.text_of(found.path) or "").startswith("{{ bos_token }}")


def test_the_template_of_another_models_folder(tmp_path, tiny_gemma_base, tiny_gemma):
    found = models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template=str(tiny_gemma)), tmp_path, "student")
    assert chat_template.text_of(found.path) == (tiny_gemma / "chat_template.jinja").read_text()
    with pytest.raises(UsageError, match="has none either"):
        models.resolve(ModelConfig(model=str(tiny_gemma_base), chat_template=str(tiny_gemma_base)), tmp_path, "student")
