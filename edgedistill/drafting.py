"""How a teacher writes: new questions from three rotating seeds, and answers. `elicit` and `tailor` share it.

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

from edgedistill.engine import Engine, user
from edgedistill.errors import StageFailed
from edgedistill.prompts import extract_answer, parse_questions, question_prompt
from edgedistill.sections import ElicitConfig, TailorConfig
from edgedistill.shards import Row, seed_of, shard
from edgedistill.task import Item, Task, fold

PROMPTS_PER_SHARD = 128
ANSWERS_PER_SHARD = 512
END_OF_ANSWER = "</ans>"
"""Nothing after it is read, so nothing after it is generated."""


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
    on_done: Callable[[int], None],
) -> list[Question]:
    """`wanted` new questions, none equal to a seed, validation or test question or to another.

    Leaves   shards under `folder`: one row per prompt, with its whole answer
    Adds     to `counts`: prompts, parsed, malformed, duplicate_of_seed …, surplus
    Raises   StageFailed when the prompts that `attempts` allows did not yield enough
    """
    taken = _taken(task)
    kept: list[Question] = []
    budget = config.attempts * math.ceil(wanted / config.per_prompt)
    number = 0
    while len(kept) < wanted:
        before, asked = len(kept), counts["prompts"]
        prompts = range(asked, min(budget, asked + _round_size(wanted - before, config.per_prompt)))
        if not prompts:
            raise _gave_up(task, wanted, before, counts)
        for row in shard(folder, number, lambda: _ask(teacher(), task, prompts, config, seed)):  # noqa: B023
            _sort_in(row["text"], taken, kept, wanted, counts)
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


def _taken(task: Task) -> dict[str, str]:
    """Folded question -> where it is from. Later parts win, so that a clash with the test is reported as such."""
    parts = {"seed": task.seeds, "validation": task.validation, "test": task.test}
    return {fold(item.question): f"duplicate_of_{part}" for part, items in parts.items() for item in items}


def _sort_in(text: str, taken: dict[str, str], kept: list[Question], wanted: int, counts: Counter[str]) -> None:
    """Keep the new questions of one answer; count what became of every one."""
    found, malformed = parse_questions(text)
    counts["malformed"] += malformed + (not found and not malformed)
    counts["parsed"] += len(found)
    for question, answer in found:
        folded = fold(question)
        if folded in taken:
            counts[taken[folded]] += 1
        elif len(kept) == wanted:
            counts["surplus"] += 1
        else:
            taken[folded] = "duplicate_of_another"
            kept.append(Question(len(kept) + 1, question, answer))


def _gave_up(task: Task, wanted: int, got: int, counts: Counter[str]) -> StageFailed:
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(counts.items()) if count)
    return StageFailed(
        f"task `{task.name}`: the teacher wrote {got:,} of {wanted:,} usable questions ({told})",
        "ask for fewer questions, raise `attempts`, or choose a teacher that keeps to the form of the prompt",
    )


def write_answers(
    folder: Path,
    teacher: Callable[[], Engine],
    prompts: Sequence[str],
    max_tokens: int,
    temperature: float,
    seed: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """One answer per prompt, up to the end of its `<ans>…</ans>`, in shards under `folder`."""
    texts: list[str] = []
    for number, start in enumerate(range(0, len(prompts), ANSWERS_PER_SHARD)):
        asked = [user(prompt) for prompt in prompts[start : start + ANSWERS_PER_SHARD]]
        rows = shard(
            folder,
            number,
            lambda: (
                {"text": text}
                for text in teacher().generate(
                    asked,  # noqa: B023
                    max_tokens=max_tokens,
                    temperature=temperature,
                    seed=seed_of(seed, "answers", number),  # noqa: B023
                    stop=END_OF_ANSWER,
                )
            ),
        )
        texts += [row["text"] for row in rows]
        on_done(len(rows))
    return texts


def why_unusable(rationale: str) -> str | None:
    """The reason why nothing can be learnt from a rationale; None where it can."""
    answer = extract_answer(rationale)
    if answer is None:
        return "no_answer"
    return None if answer else "empty_answer"
