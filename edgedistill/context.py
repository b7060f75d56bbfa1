"""Has the student room for one example, one question and its answer? Asked before anything is drafted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgedistill.artifacts import Draft
from edgedistill.errors import UsageError
from edgedistill.files import read_json
from edgedistill.models import Model
from edgedistill.prompts import Example, plain_prompt
from edgedistill.sections import PreferConfig
from edgedistill.task import Task

_TEMPLATE_TOKENS = 16
"""About what a chat template adds to a message."""


def check(student: Model, tasks: list[Task], config: PreferConfig) -> None:
    """Raise UsageError when a task's shortest seed as the example and its longest validation item do not fit.

    A model on a server, or one without tokenizer.json, is not asked.
    """
    count, room = counter(student), positions(student)
    if count is None or room is None:
        return
    for task in tasks:
        examples = [Example(seed.question, seed.rationale or f"<ans>{seed.answer}</ans>") for seed in task.seeds]
        example = min(examples, key=lambda one: len(one.question) + len(one.rationale))
        item = max((item.question for item in task.validation), key=len)
        prompt = count(plain_prompt(task.info.description, item, (example,))) + _TEMPLATE_TOKENS
        answer = int(getattr(config, "max_tokens", 0))
        if prompt + answer > room:
            raise UsageError(
                f"student: its context of {room:,} tokens is too short for task `{task.name}`: one example and one"
                f" question take {prompt:,} tokens, an answer up to {answer:,}",
                "choose a student with a longer context, lower `prefer.max_tokens`, or shorten the validation items",
            )


def fitting(drafts: list[Draft], student: Model, task: Task, config: PreferConfig) -> list[Draft]:
    """The drafts that the student has room for as the example before the longest validation item."""
    count, room = counter(student), positions(student)
    if count is None or room is None:
        return drafts
    item = max((item.question for item in task.validation), key=len)
    free = room - _TEMPLATE_TOKENS - int(getattr(config, "max_tokens", 0))

    def fits(draft: Draft) -> bool:
        return count(plain_prompt(task.info.description, item, (Example(draft.question, draft.rationale),))) <= free

    return [draft for draft in drafts if fits(draft)]


def positions(model: Model) -> int | None:
    """The longest conversation in tokens that the model was made for; None where its config.json does not say."""
    if not (model.path / "config.json").is_file():
        return None
    config = read_json(model.path / "config.json")
    found = config.get("text_config", config).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def counter(model: Model) -> Callable[[str], int] | None:
    """Counts the tokens of a text; None for a model whose tokenizer is not here as tokenizer.json."""
    if not (model.path / "tokenizer.json").is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def check_lengths(lengths: Sequence[int], room: int) -> None:
    """Raise UsageError for the first prompt, in tokens, that leaves no room for an answer in a context of `room`."""
    wrong = next((length for length in lengths if not 0 < length < room), None)
    if wrong is not None:
        raise UsageError(
            f"a prompt of {wrong} tokens does not fit into a context of {room}",
            "raise `validate.context`, or shorten the question",
        )
