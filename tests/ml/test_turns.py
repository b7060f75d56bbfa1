"""What training sees of a prompt and its answer, against ids put together by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgedistill.errors import UsageError

pytestmark = pytest.mark.slow


def ids_of(folder: Path, text: str) -> list[int]:
    """Ids by the tokenizers library alone."""
    from tokenizers import Tokenizer

    ids: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return ids


def turn(folder: Path, prompt: str, answer: str):
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(folder)
    return turns(tokenizer, end_ids(folder, tokenizer), [(prompt, answer)])[0]


def with_template(folder: Path, copy: Path, template: str) -> Path:
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").write_text(template)
    return copy


def test_only_the_answer_and_its_end_are_learned(tiny_qwen2: Path) -> None:
    got = turn(tiny_qwen2, "Is it?", "It is. <ans>yes</ans>")
    prompt = ids_of(tiny_qwen2, "<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n")
    answer = ids_of(tiny_qwen2, "It is. <ans>yes</ans><|im_end|>")
    assert got.input_ids == prompt + answer
    assert got.labels == [-100] * len(prompt) + answer
    assert got.labels[-1] == ids_of(tiny_qwen2, "<|im_end|>")[0]


def test_a_beginning_that_the_template_writes_is_not_doubled(tiny_gemma: Path) -> None:
    got = turn(tiny_gemma, "Is it?", "yes")
    text = "<bos><start_of_turn>user\nIs it?<end_of_turn>\n<start_of_turn>model\nyes<end_of_turn>"
    assert got.input_ids == ids_of(tiny_gemma, text)


def test_an_end_is_added_where_the_template_writes_none(tiny_llama: Path, tmp_path: Path) -> None:
    bare = with_template(
        tiny_llama,
        tmp_path / "bare",
        "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}",
    )
    end = ids_of(bare, "<|im_end|>")
    assert turn(bare, "Is it?", "yes").completion_ids == ids_of(bare, "yes") + end


def test_the_prompt_is_what_the_model_will_see_even_where_a_finished_turn_is_shown_otherwise(
    tiny_llama: Path, tmp_path: Path
) -> None:
    thinking = with_template(
        tiny_llama,
        tmp_path / "thinking",
        "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]<think></think>' }}{% endif %}",
    )
    got = turn(thinking, "Is it?", "yes")
    assert got.prompt_ids == ids_of(thinking, "[user]Is it?<|im_end|>[assistant]<think></think>")
    assert got.completion_ids == ids_of(thinking, "yes<|im_end|>")


def test_the_prompts_ids_stay_the_engines_where_a_token_spans_the_border(tiny_llama: Path, tmp_path: Path) -> None:
    """`<ans>` is one token of this vocabulary, or a few; a prompt that ends in `<an` must not become part of it."""
    folder = with_template(
        tiny_llama,
        tmp_path / "open",
        "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ '<an' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<an' }}{% endif %}",
    )
    assert ids_of(folder, "Is it?<ans>yes")[: len(ids_of(folder, "Is it?<an"))] != ids_of(folder, "Is it?<an")
    got = turn(folder, "Is it?", "s>yes")
    assert got.prompt_ids == ids_of(folder, "Is it?<an")
    assert got.completion_ids == ids_of(folder, "s>yes") + ids_of(folder, "<|im_end|>")


def test_a_model_without_an_end_of_turn_token_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    from edgedistill.ml.turns import end_ids, load_tokenizer

    folder = shutil.copytree(tiny_llama, tmp_path / "endless")
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text())
            kept = {key: value for key, value in content.items() if not key.startswith(("eos_token", "pad_token"))}
            (folder / name).write_text(json.dumps(kept))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(UsageError, match="end-of-turn"):
        end_ids(folder, load_tokenizer(folder))
