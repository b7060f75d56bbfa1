"""A prompt and its answer as the token ids that training sees: the same ids that the model meets when it runs.

The chat template writes the text, nothing is added to it but a missing end-of-turn token. A student that was never
shown the end of a turn does not stop talking, and its loss looks healthy all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from edgedistill.errors import UsageError
from edgedistill.files import read_json

IGNORED = -100
"""Label of a position that the loss does not count, in torch and in TRL."""


@dataclass(frozen=True)
class Turn:
    """One prompt with one answer."""

    prompt_ids: list[int]
    """As the engine sends them: chat template with generation prompt."""
    completion_ids: list[int]
    """The answer, and the end-of-turn token as the last one."""

    @property
    def input_ids(self) -> list[int]:
        return self.prompt_ids + self.completion_ids

    @property
    def labels(self) -> list[int]:
        """The answer with its end; the prompt is not learned."""
        return [IGNORED] * len(self.prompt_ids) + self.completion_ids

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a model folder, with a padding token (in memory only) where it has none."""
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if tokenizer.pad_token is None:
        # Padding is masked in attention and loss, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def end_ids(path: Path, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer when the model runs; the tokenizer's own end-of-sequence token comes first.

    Raises  UsageError when the model folder names none.
    """
    named = [tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        if (path / name).is_file():
            value = read_json(path / name).get("eos_token_id")
            named += value if isinstance(value, list) else [value]
    found = tuple(dict.fromkeys(token for token in named if token is not None))
    if not found:
        raise UsageError(
            f"model {path} names no end-of-turn token, so it could never learn to stop",
            "set `eos_token` in tokenizer_config.json, or `eos_token_id` in generation_config.json",
        )
    return found


def turns(tokenizer: Any, ends: tuple[int, ...], rows: Sequence[tuple[str, str]]) -> list[Turn]:
    """Tokenize (prompt, answer) rows, each one user message and one assistant message."""
    prompts = [_render(tokenizer, [("user", prompt)], opens_answer=True) for prompt, _ in rows]
    wholes = [
        _whole(tokenizer, prompt, answer, opening) for (prompt, answer), opening in zip(rows, prompts, strict=True)
    ]
    prompt_ids, whole_ids = _ids(tokenizer, prompts), _ids(tokenizer, wholes)
    return [
        Turn(ids, _ended(_rest(tokenizer, ids, whole, text[len(opening) :]), ends))
        for ids, whole, text, opening in zip(prompt_ids, whole_ids, wholes, prompts, strict=True)
    ]


def _render(tokenizer: Any, messages: list[tuple[str, str]], *, opens_answer: bool) -> str:
    conversation = [{"role": role, "content": content} for role, content in messages]
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=opens_answer)
    return text


def _whole(tokenizer: Any, prompt: str, answer: str, opening: str) -> str:
    """The text of both turns. Always starts with `opening`, because that is what stands there when the model runs."""
    whole = _render(tokenizer, [("user", prompt), ("assistant", answer)], opens_answer=False)
    if whole.startswith(opening):
        return whole
    # Some templates open an answer otherwise than they show a finished one (thinking tags): keep what follows it.
    _, found, after = whole.rpartition(answer.strip())
    return opening + answer + (after if found else "")


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # The template has written BOS already where the model wants one.
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def _rest(tokenizer: Any, prompt_ids: list[int], whole_ids: list[int], text: str) -> list[int]:
    """What follows the prompt's ids; where a token spans the border, the answer is tokenized by itself."""
    if whole_ids[: len(prompt_ids)] == prompt_ids:
        return whole_ids[len(prompt_ids) :]
    return _ids(tokenizer, [text])[0]


def _ended(ids: list[int], ends: tuple[int, ...]) -> list[int]:
    """Cut behind the first end-of-turn token: no runtime reads further. Add one where the template writes none."""
    first = next((position for position, token in enumerate(ids) if token in ends), None)
    return [*ids, ends[0]] if first is None else ids[: first + 1]
