"""The drafts' scores: every draft on the whole exam, or a race that asks where it tells most. Resumable in shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgedistill import components, pairs, racing
from edgedistill.artifacts import Draft, Score
from edgedistill.engine import Engine
from edgedistill.errors import StageFailed
from edgedistill.racing import Costs, Estimate
from edgedistill.sections import PreferConfig
from edgedistill.shards import Row, seed_of, shard, shard_path
from edgedistill.task import Item, Task

DRAFTS_PER_SHARD = 16


@dataclass(frozen=True)
class Scored:
    """The scores of one task's drafts, in their order."""

    scores: list[Score]
    spent: float
    """Share of the text of the exact mode that the student read and wrote, 0-1."""


def score(
    folder: Path,
    drafts: list[Draft],
    exam: list[Item],
    task: Task,
    student: Callable[[], Engine],
    config: PreferConfig,
    seed: int,
    on_done: Callable[[int], None],
) -> Scored:
    """Scores by the config's signal, with how many items each rests on. Shards go below `folder`.

    Raises  StageFailed when the budget does not pay for a few items of every draft
    """
    signal = components.load("signals", config.signal)

    def put(name: str, some: Sequence[Draft], items: list[Item]) -> list[Score]:
        found: list[Score] = []
        parts = [some[start : start + DRAFTS_PER_SHARD] for start in range(0, len(some), DRAFTS_PER_SHARD)]
        for number, part in enumerate(parts):

            def make(part: Sequence[Draft] = part) -> Iterator[Row]:
                return map(asdict, signal.score(list(part), items, task, student(), config, on_done))

            found += [Score(**row) for row in shard(folder / name, number, make)]
        return found

    if config.budget == 1:
        whole = put("", drafts, exam)
        return Scored([replace(one, answered=len(exam), error=one.standard_error) for one in whole], 1.0)
    return _raced(drafts, exam, task, config, seed, put)


def finished(folder: Path, drafts: list[Draft], exam: list[Item]) -> int:
    """Answers of the exact mode that an earlier run left; none are counted of a race, which is told by its rounds."""
    shards = range(0, len(drafts), DRAFTS_PER_SHARD)
    done = (len(drafts[start : start + DRAFTS_PER_SHARD]) for n, start in enumerate(shards) if _is_there(folder, n))
    return sum(done) * len(exam)


def _is_there(folder: Path, number: int) -> bool:
    return shard_path(folder, number).is_file()


def _raced(
    drafts: list[Draft],
    exam: list[Item],
    task: Task,
    config: PreferConfig,
    seed: int,
    put: Callable[[str, Sequence[Draft], list[Item]], list[Score]],
) -> Scored:
    place = {draft.id: number for number, draft in enumerate(drafts)}
    questions = [[place[draft.id] for draft in own] for own in pairs.by_question(drafts).values()]
    parts: list[list[tuple[int, str, float | None]]] = [[] for _ in drafts]

    def ask(name: str, numbers: list[int], items: list[int]) -> list[list[float]]:
        rows = put(name, [drafts[number] for number in numbers], [exam[item] for item in items])
        for number, row in zip(numbers, rows, strict=True):
            hits, values = row.hits or "-" * len(items), row.values or [None] * len(items)
            parts[number] += zip(items, hits, values, strict=True)
        return [[float(credit or 0) for credit in row.credits] for row in rows]

    try:
        raced = racing.race(questions, costs(drafts, exam), config.budget, seed_of(seed, "race", task.name), ask)
    except ValueError as error:
        raise StageFailed(f"prefer.budget: {error} (task `{task.name}`)", "raise it, or `prefer.exam_size`") from error
    found = zip(drafts, parts, racing.estimates(raced.credits), strict=True)
    return Scored([_joined(draft, part, len(exam), estimate) for draft, part, estimate in found], raced.spent)


def costs(drafts: list[Draft], exam: list[Item]) -> Costs:
    """In characters. What the student writes for an item is taken to be as long as the example's rationale."""
    return Costs(
        example=[len(draft.question) + len(draft.rationale) for draft in drafts],
        answer=[len(draft.rationale) for draft in drafts],
        item=[len(item.question) for item in exam],
    )


def _joined(draft: Draft, parts: list[tuple[int, str, float | None]], size: int, estimate: Estimate) -> Score:
    """One score from the parts of the exam that a draft answered."""
    hits, values = ["-"] * size, list[float | None]([None] * size)
    for item, hit, value in parts:
        hits[item], values[item] = hit, value
    measured = any(value is not None for value in values)
    return Score(
        draft.id,
        draft.task,
        estimate.score,
        "" if measured else "".join(hits),
        values if measured else (),
        answered=len(parts),
        error=estimate.error,
    )
