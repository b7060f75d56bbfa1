"""Whom a student learns from, and how often from each: several teachers, one drawn at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from edgedistill import vocabulary
from edgedistill.artifacts import Hints
from edgedistill.engine import Engine, open_engine, user
from edgedistill.errors import UsageError
from edgedistill.files import write_rows
from edgedistill.learning import TutoredConfig
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.prompts import extract_answer, plain_prompt
from edgedistill.shards import Row, seed_of, shard
from edgedistill.task import Task

T = TypeVar("T")


@dataclass(frozen=True)
class Tutor:
    """A model that a student learns from."""

    model: Model
    weight: float = 1.0
    """How often, in proportion to the others."""
    hints: Hints | None = None
    """What it wrote down of the rows beforehand, for methods that read that."""
    places: tuple[int, ...] | None = None
    """Where the rows that are taught stand among those that the hints are of; None: they are the same."""

    def identity(self) -> dict[str, Any]:
        written = {"hints": self.hints.identity()} if self.hints else {}
        return {"tutor": self.model.identity(), "weight": self.weight, **written}


def check(config: TutoredConfig, tutors: Sequence[Tutor], student: Model) -> None:
    """Raises UsageError when one of them cannot teach the student by this method, as far as is known without a network:
    what is not here yet is looked at once it is."""
    rule = getattr(config, "vocabulary", None)
    for model in (tutor.model for tutor in tutors):
        if model.server and (why := config.why_no_server):
            raise UsageError(
                f"distill: method `{config.method}` cannot learn from {model.name}: {why}, and a server does not tell",
                "use a folder or hub id with `engine: hf`, or a method that reads text, like `seqkd`",
            )
        if rule and model.is_here and student.is_here:
            vocabulary.learns_tokens(model, student, rule)


@dataclass
class Staff:
    """Tutors that are asked while the student is trained: each is opened when it is first asked.

    A server's answers are on disk from the moment they came, in a file per tutor, until the training is through.
    """

    models: list[Model]
    out: Path
    """The stage's folder."""
    most: int | None = None
    """Tutors that are open at once; the one that was not asked for longest is closed for another. None: all."""
    _open: dict[int, Engine] = field(default_factory=dict)
    """By number, the one that was asked last at the end."""

    def engine(self, number: int) -> Engine:
        """A tutor, by its number."""
        found = self._open.pop(number, None)
        while found is None and self.most and len(self._open) >= self.most:
            self._open.pop(next(iter(self._open))).close()
        self._open[number] = found or open_engine(self.models[number], self._answered(number))
        return self._open[number]

    def _answered(self, number: int) -> Path:
        return self.out / f"answered-{number}.jsonl"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()
        if kind is None:
            for number in range(len(self.models)):
                self._answered(number).unlink(missing_ok=True)


def draw(tutors: Sequence[Tutor], count: int, seed: int) -> list[int]:
    """Which tutor has its turn, `count` times."""
    random = Random(seed_of(seed, "tutors"))
    return random.choices(range(len(tutors)), [tutor.weight for tutor in tutors], k=count)


def shared(tutors: Sequence[Tutor], count: int, seed: int) -> list[tuple[int, Tutor, list[int]]]:
    """Each tutor with its number and the places, of `count`, where it has its turn."""
    turns = draw(tutors, count, seed)
    return [
        (number, tutor, [place for place, turn in enumerate(turns) if turn == number])
        for number, tutor in enumerate(tutors)
    ]


def in_turns(
    tutors: Sequence[Tutor], asked: Sequence[T], seed: int, of_one: Callable[[Tutor, int, list[T]], list[Row]]
) -> list[Row]:
    """One row for each that is asked, in order; each tutor does its own, one tutor after another.

    of_one  (tutor, its number, what it has its turn at) -> rows
    """
    found: dict[int, Row] = {}
    for number, tutor, own in shared(tutors, len(asked), seed):
        found |= dict(zip(own, of_one(tutor, number, [asked[place] for place in own]), strict=True))
    return [found[place] for place in range(len(asked))]


def weighed(
    out: Path,
    tutors: Sequence[Tutor],
    tasks: list[Task],
    config: TutoredConfig,
    seed: int,
    pilot: Callable[[Path, Tutor], Model],
) -> list[Tutor]:
    """The tutors with the weights that the config asks for; leaves tutors.jsonl where there are several.

    pilot  trains a student from one tutor alone, below a folder, and returns it
    """
    if len(tutors) < 2:
        return list(tutors)
    if config.weights == "given":
        weights, scores = [tutor.weight for tutor in tutors], None
    elif config.weights == "uniform":
        weights, scores = [1.0] * len(tutors), None
    else:
        scores = [_score(out / "pilot" / str(n), tutor, tasks, config, seed, pilot) for n, tutor in enumerate(tutors)]
        weights = by_rank(scores)
    total = sum(weights)
    named = [tutor.model.name or tutor.model.path.name for tutor in tutors]
    rows = [{"teacher": name, "weight": round(weight / total, 6)} for name, weight in zip(named, weights, strict=True)]
    if scores is not None:
        rows = [{**row, "score": round(score, 6)} for row, score in zip(rows, scores, strict=True)]
    write_rows(out / "tutors.jsonl", rows)
    say("  distill: " + ", ".join(f"{row['teacher']} {row['weight']:.2f}" for row in rows))
    return [replace(tutor, weight=weight) for tutor, weight in zip(tutors, weights, strict=True)]


def finish(out: Path) -> None:
    """Remove the pilot runs, once everything else is written."""
    shutil.rmtree(out / "pilot", ignore_errors=True)


def by_rank(scores: Sequence[float]) -> list[float]:
    """K for the best of K, 1 for the last; equal scores share the mean of their ranks."""
    return [
        1 + sum(other < score for other in scores) + (sum(other == score for other in scores) - 1) / 2
        for score in scores
    ]


def _score(
    folder: Path,
    tutor: Tutor,
    tasks: list[Task],
    config: TutoredConfig,
    seed: int,
    pilot: Callable[[Path, Tutor], Model],
) -> float:
    """Share of validation items that the tutor answers right, or a student that learned from it alone."""

    def make() -> list[Row]:
        model = tutor.model if config.weights == "teacher-rank" else pilot(folder / "student", tutor)
        with Staff([model], folder) as staff:
            return [{"right": right} for right in _right(staff.engine(0), tasks, config, seed)]

    rows = shard(folder, 0, make)
    return sum(bool(row["right"]) for row in rows) / max(1, len(rows))


def _right(engine: Engine, tasks: list[Task], config: TutoredConfig, seed: int) -> list[bool]:
    found = []
    for task in tasks:
        places = range(len(task.validation))
        drawn = Random(seed_of(seed, "pilot", task.name)).sample(places, min(config.pilot_items, len(places)))
        items = [task.validation[place] for place in sorted(drawn)]
        asked = [user(plain_prompt(task.info.description, item.question)) for item in items]
        texts = engine.generate(asked, max_tokens=config.pilot_tokens, stop="</ans>")
        given = [extract_answer(text) for text in texts]
        found += [task.grader.is_right(one, item.answer) for one, item in zip(given, items, strict=True)]
    return found
