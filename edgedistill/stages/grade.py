"""A student sits the test: every item of every task, with and without solved examples before the question.

Beside `validate`, this is the one stage that reads test items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from edgedistill.artifacts import Graded, GradedAnswer
from edgedistill.comparison_sections import ArmsConfig
from edgedistill.engine import Engine, Messages, user
from edgedistill.errors import UsageError
from edgedistill.files import write_json, write_rows
from edgedistill.models import Model
from edgedistill.prompts import Example, extract_answer, plain_prompt
from edgedistill.rationales import END_OF_ANSWER
from edgedistill.shards import Row, in_shards, on_demand, seed_of
from edgedistill.store import stage
from edgedistill.task import Item, Task

SHARD = 512
"""Questions between two saves; the engine gets them in one call, so that its batches are full."""


@dataclass(frozen=True)
class Asked:
    """A test item, and how many solved examples come before it."""

    task: Task
    item: Item
    shots: int


@stage(version=1)
def grade(out: Path, model: Model, tasks: list[Task], config: ArmsConfig, seed: int) -> Graded:
    """Answer the plain prompt of each test item greedily, at each of the config's `shots`.

    Leaves  graded.jsonl  task, id, shots, right, has_format, given
            counts.json   per task and number of shots: items, right, has_format
    Raises  UsageError when a prompt does not fit the model's context
    """
    asked = questions(tasks, config, seed)
    with on_demand(model, out) as opened:

        def make(part: Sequence[Asked], number: int, advance: Callable[[int], None]) -> list[Row]:
            return [{"text": text} for text in _answers(opened(), part, config, advance)]

        texts = [row["text"] for row in in_shards(out / "shards", asked, SHARD, "grade", make)]
    graded = [_graded(one, text) for one, text in zip(asked, texts, strict=True)]
    write_rows(out / "graded.jsonl", map(asdict, graded))
    write_json(out / "counts.json", _counts(graded, config))
    return Graded(out)


def questions(tasks: list[Task], config: ArmsConfig, seed: int) -> list[Asked]:
    """Most shots first: a prompt that is too long shows at once. With `items` the same draw for every model."""
    return [
        Asked(task, item, shots)
        for shots in sorted(config.shots, reverse=True)
        for task in tasks
        for item in _items(task, config.items, seed)
    ]


def examples(task: Task, shots: int) -> tuple[Example, ...]:
    """The task's first seeds, solved. Raises UsageError when it has too few, or one without a rationale."""
    shown = task.seeds[:shots]
    bare = next((seed.id for seed in shown if extract_answer(seed.rationale) is None), None)
    if len(shown) < shots or bare:
        why = f"seed `{bare}` has no rationale that ends with <ans>…</ans>" if bare else f"it has {len(shown)} seeds"
        raise UsageError(
            f"arms.shots: task `{task.name}` cannot show {shots} solved examples; {why}",
            "complete seeds.jsonl, or lower `arms.shots`",
        )
    return tuple(Example(seed.question, seed.rationale) for seed in shown)


def _items(task: Task, most: int | None, seed: int) -> list[Item]:
    """In the order of the file."""
    if most is None or most >= len(task.test):
        return list(task.test)
    places = Random(seed_of(seed, "test items", task.name)).sample(range(len(task.test)), most)
    return [task.test[place] for place in sorted(places)]


def _answers(engine: Engine, part: Sequence[Asked], config: ArmsConfig, on_done: Callable[[int], None]) -> list[str]:
    # What follows the first answer is not looked at: with examples before it, a student may go on with a new question.
    return engine.generate(
        [_conversation(one) for one in part], max_tokens=config.max_tokens, stop=END_OF_ANSWER, on_done=on_done
    )


def _conversation(one: Asked) -> Messages:
    shown = examples(one.task, one.shots)
    return user(plain_prompt(one.task.info.description, one.item.question, shown))


def _graded(one: Asked, text: str) -> GradedAnswer:
    given = extract_answer(text)
    grader = one.task.grader
    form = grader.details([given], [one.item.answer]).get("format_rate", float(given is not None))
    return GradedAnswer(
        one.task.name, one.item.id, one.shots, grader.is_right(given, one.item.answer), form == 1.0, given
    )


def _counts(graded: list[GradedAnswer], config: ArmsConfig) -> dict[str, object]:
    names = list(dict.fromkeys(answer.task for answer in graded))
    by_task: dict[str, dict[str, dict[str, int]]] = {}
    for name in names:
        own = [[row for row in graded if (row.task, row.shots) == (name, shots)] for shots in config.shots]
        by_task[name] = {
            str(shots): {
                "items": len(rows),
                "right": sum(row.right for row in rows),
                "has_format": sum(row.has_format for row in rows),
            }
            for shots, rows in zip(config.shots, own, strict=True)
        }
    told = []
    for shots in config.shots:
        mine = [row.right for row in graded if row.shots == shots]
        told.append(f"{sum(mine) / max(1, len(mine)):.3f} at {shots} shots")
    return {"rows": len(graded), "summary": "right: " + ", ".join(told), "tasks": by_task}
