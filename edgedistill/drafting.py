"""How a teacher writes new questions from three rotating seeds. `elicit` and `tailor` share it.

Source   ARTE, arXiv:2406.19227v1, sec. 3.1 and appendices F, H. Rotation and removal of duplicates are ours: the paper
         says nothing about either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edgedistill.duplicates import Known
from edgedistill.engine import Engine, user
from edgedistill.errors import StageFailed
from edgedistill.prompts import excerpt, question_prompt
from edgedistill.sections import ElicitConfig, TailorConfig
from edgedistill.shards import Row, seed_of, shard
from edgedistill.tagged_questions import Parsed, holds_entities, parse
from edgedistill.task import Item, Task

PROMPTS_PER_SHARD = 128
TRIAL_SHARE = 0.1
"""Of the prompts that `attempts` allows. A teacher that has not written one tagged question by then never will."""


@dataclass(frozen=True)
class Question:
    """A question with the answer that the teacher gave it."""

    number: int
    """Place among the task's questions, from 1."""
    question: str
    answer: str


def write_questions(
    folder: Path,
    teacher: Callable[[], Engine],
    task: Task,
    wanted: int,
    config: ElicitConfig | TailorConfig,
    seed: int,
    counts: Counter[str],
    what: str,
    on_done: Callable[[int], None],
) -> list[Question]:
    """`wanted` new questions, none a duplicate of a seed, validation or test question or of another.

    Leaves   shards under `folder`: one row per prompt, with its whole answer
    Adds     to `counts`: prompts, parsed, repaired, malformed, duplicate_of_seed …, near_duplicate_of_seed …, surplus
    Raises   StageFailed when `attempts` times the prompts that would be needed did not yield enough, or a tenth of them
             not one tagged question. Both are looked at between rounds, whose size no limit changes: with a higher
             `attempts`, a rerun goes on from here. `what` (stage and task) opens the message
    """
    known = Known(task.seeds, task.validation, task.test, config.near_duplicate)
    has_entities = any(holds_entities(item.question + item.answer) for item in task.seeds)
    kept: list[Question] = []
    budget = config.attempts * math.ceil(wanted / config.per_prompt)
    number, unread = 0, ""
    while len(kept) < wanted:
        asked, before = counts["prompts"], len(kept)
        if asked >= budget or (asked >= TRIAL_SHARE * budget and not counts["parsed"]):
            raise _gave_up(what, wanted, before, budget, counts, unread)
        prompts = range(asked, asked + _round_size(wanted - before, config.per_prompt))
        for row in shard(folder, number, lambda: _ask(teacher(), task, prompts, config, seed)):  # noqa: B023
            parsed = parse(row["text"], has_entities=has_entities)
            unread = unread or ("" if parsed.pairs else row["text"])
            _sort_in(parsed, known, kept, wanted, counts)
        counts["prompts"] += len(prompts)
        number += 1
        on_done(len(kept) - before)
    return kept


def _round_size(missing: int, per_prompt: int) -> int:
    """Prompts of the next shard: what is missing and a quarter more, since some answers are never usable."""
    return min(PROMPTS_PER_SHARD, max(8, math.ceil(1.25 * missing / per_prompt)))


def _ask(teacher: Engine, task: Task, prompts: range, config: ElicitConfig | TailorConfig, seed: int) -> Iterator[Row]:
    info = task.info
    shown = [pairs(seeds_for(task, seed, number // config.same_seeds)) for number in prompts]
    texts = teacher.generate(
        [user(question_prompt(info.title, info.description, seeds, config.per_prompt)) for seeds in shown],
        max_tokens=config.max_question_tokens,
        temperature=config.temperature,
        seed=seed_of(seed, task.name, "questions", prompts.start),
    )
    return ({"prompt": number, "text": text} for number, text in zip(prompts, texts, strict=True))


def seeds_for(task: Task, seed: int, number: int) -> list[Item]:
    """Three seeds, hand `number`: dealt like cards, so that each is shown equally often, in ever new threes."""
    cycle, hand = divmod(number, len(task.seeds) // 3)
    deck = Random(f"{seed} {task.name} seeds {cycle}").sample(task.seeds, len(task.seeds))
    return deck[3 * hand : 3 * hand + 3]


def pairs(items: Sequence[Item]) -> list[tuple[str, str]]:
    return [(item.question, item.answer) for item in items]


def _sort_in(parsed: Parsed, known: Known, kept: list[Question], wanted: int, counts: Counter[str]) -> None:
    """Keep the new questions of one answer; count what became of every one."""
    counts["parsed"] += len(parsed.pairs)
    counts["repaired"] += parsed.repaired
    counts["malformed"] += parsed.malformed + (not parsed.pairs and not parsed.malformed)
    for question, answer in parsed.pairs:
        reason = known.why_known(question) or ("surplus" if len(kept) == wanted else None)
        if reason:
            counts[reason] += 1
        else:
            known.add(question)
            kept.append(Question(len(kept) + 1, question, answer))


def _gave_up(what: str, wanted: int, got: int, budget: int, counts: Counter[str], unread: str) -> StageFailed:
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(counts.items()) if count)
    if not counts["parsed"]:
        return StageFailed(
            f"{what}: {counts['prompts']:,} of at most {budget:,} prompts brought not one tagged question; "
            f"the teacher says: {excerpt(unread)}",
            "raise `max_question_tokens` if it is cut off, or choose a teacher that keeps to the form of the prompt; "
            "what it wrote is kept",
        )
    return StageFailed(
        f"{what}: the teacher wrote {got:,} of {wanted:,} usable questions and used up its {budget:,} prompts ({told})",
        f"{_mend(counts)}. With a higher `attempts` the same command goes on from here: what was written is kept",
    )


def _mend(counts: Counter[str]) -> str:
    """What to do about the most frequent reason that questions were not usable."""
    near = sum(count for name, count in counts.items() if name.startswith("near_duplicate"))
    exact = sum(count for name, count in counts.items() if name.startswith("duplicate"))
    if counts["malformed"] >= max(near, exact):
        return "raise `max_question_tokens` if answers are cut off, or choose a teacher that keeps to the form"
    if near > exact:
        return "raise `near_duplicate`, or set it to null where all questions of the task are made alike"
    return "ask for fewer questions, raise the temperature, or add seeds"
