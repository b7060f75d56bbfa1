"""The exam: which validation items score the drafts.

Source   ARTE, arXiv:2406.19227v1, sec. 3.2 and appendix E: models at several numbers of shots answer all validation
         items, and those that discriminate most between these respondents make the exam
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from edgedistill import irt
from edgedistill.engine import Engine, user
from edgedistill.errors import UsageError
from edgedistill.log import progress, say
from edgedistill.models import Model
from edgedistill.prompts import Example, extract_answer, plain_prompt
from edgedistill.sections import PreferConfig
from edgedistill.shards import Row, on_demand, seed_of, shard
from edgedistill.task import Item, Task

MIN_RESPONDENTS = 8
"""Fewer do not tell items apart, since one answer more or less turns their order."""


@dataclass(frozen=True)
class Exam:
    """The items of one task, in the order in which scores hold their answers."""

    items: list[Item]
    rows: list[Row]
    """For exam.jsonl: task, id; with item response theory also discrimination and difficulty."""
    chosen_by: str
    """`irt` or `stratified`"""


def choose(task: Task, config: PreferConfig, seed: int, responses: list[Row]) -> Exam:
    """The exam that the config asks for; a stratified draw where there are no `responses`, which are `sit`'s rows.

    Raises  UsageError when there are fewer validation items than the exam asks for
    """
    _check_size(task, config.exam_size)
    if not responses:
        drawn = stratified(task, config.exam_size, seed)
        return Exam(drawn, [{"task": task.name, "id": item.id} for item in drawn], "stratified")
    fitted = irt.fit([[float(hit) for hit in row["hits"]] for row in responses])
    items = list(task.validation)
    numbers = irt.most_discriminating(fitted, config.exam_size, _without_contrast(responses))
    rows: list[Row] = [
        {
            "task": task.name,
            "id": items[number].id,
            "discrimination": round(float(fitted.discrimination[number]), 4),
            "difficulty": round(float(fitted.difficulty[number]), 4),
        }
        for number in numbers
    ]
    return Exam([items[number] for number in numbers], rows, "irt")


def stratified(task: Task, size: int, seed: int) -> list[Item]:
    """`size` validation items, drawn from a seed, with the answers' kinds in proportion where the grader tells them.

    Systematic sampling: shuffled, sorted by kind, then every n-th.
    """
    _check_size(task, size)
    grader: Any = task.grader
    shuffled = Random(seed_of(seed, "exam", task.name)).sample(task.validation, len(task.validation))
    if hasattr(grader, "stratum"):
        shuffled.sort(key=lambda item: str(grader.stratum(item.answer)))
    return [shuffled[place * len(shuffled) // size] for place in range(size)]


def _check_size(task: Task, size: int) -> None:
    if size > len(task.validation):
        raise UsageError(
            f"prefer.exam_size: {size}, but task `{task.name}` has {len(task.validation)} items in validation.jsonl",
            "lower it, or add labelled items to the task",
        )


def _without_contrast(responses: list[Row]) -> set[int]:
    """Items that all respondents answer alike: their discrimination is the prior's, and says nothing."""
    columns = zip(*(row["hits"] for row in responses), strict=True)
    return {number for number, hits in enumerate(columns) if len(set(hits)) == 1}


def sit(out: Path, models: list[Model], tasks: list[Task], config: PreferConfig, seed: int) -> list[Row]:
    """Every respondent answers every validation item: task, model, shots, hand, hits (one 0 or 1 per item).

    A respondent is a model at a number of shots, with one hand of seeds as examples. Empty, with a warning, when there
    would be fewer than MIN_RESPONDENTS. Each row is a shard below out/shards/respondents.
    """
    sittings = _sittings(config)
    if (count := len(models) * len(sittings)) < MIN_RESPONDENTS:
        say(
            f"warning: prefer.exam: irt needs {MIN_RESPONDENTS} respondents, this recipe makes {count}; the exam is a"
            " stratified draw instead. Add models to `prefer.respondents`, or raise `prefer.respondent_hands`"
        )
        return []
    rows: list[Row] = []
    for number, model in enumerate(models):
        folder = out / "shards" / "respondents" / f"{number:02}"
        folder.mkdir(parents=True, exist_ok=True)
        total = len(sittings) * sum(len(task.validation) for task in tasks)
        with on_demand(model, folder) as opened, progress(f"exam {model.name}", total) as advance:
            for task in tasks:
                for place, (shots, hand) in enumerate(sittings):
                    examples = _examples(task, shots, hand, seed)
                    make = partial(_answered, opened, task, examples, config.respondent_tokens)
                    found = shard(folder / task.name, place, make)[0]
                    rows.append({"task": task.name, "model": model.name, "shots": shots, "hand": hand, **found})
                    advance(len(task.validation))
    return rows


def _sittings(config: PreferConfig) -> list[tuple[int, int]]:
    """(shots, hand) of each respondent of one model. Without shots there is only one hand."""
    return [
        (shots, hand) for shots in config.respondent_shots for hand in range(config.respondent_hands if shots else 1)
    ]


def _examples(task: Task, shots: int, hand: int, seed: int) -> tuple[Example, ...]:
    """The first seeds of a deck; more shots show the same ones and another."""
    solved = [item for item in task.seeds if item.rationale]
    if len(solved) < shots:
        raise UsageError(
            f"prefer.respondent_shots: {shots}, but task `{task.name}` has {len(solved)} seeds with a rationale",
            "lower it, or add rationales to seeds.jsonl",
        )
    deck = Random(seed_of(seed, "respondents", task.name, hand)).sample(solved, len(solved))
    return tuple(Example(item.question, item.rationale) for item in deck[:shots])


def _answered(opened: Callable[[], Engine], task: Task, examples: tuple[Example, ...], max_tokens: int) -> list[Row]:
    items = task.validation
    asked = [user(plain_prompt(task.info.description, item.question, examples)) for item in items]
    texts = opened().generate(asked, max_tokens=max_tokens, stop="</ans>")
    right = (task.grader.is_right(extract_answer(text), item.answer) for text, item in zip(texts, items, strict=True))
    return [{"hits": "".join("1" if hit else "0" for hit in right)}]
