"""Every draft's score for the student, and nothing made of it yet: what `prefer` begins with.

As a stage of its own it lets several ways of pairing, or several signals, be compared on the same drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from edgedistill import context, exam, scoring
from edgedistill.artifacts import Draft, Drafts, Preferences, Score
from edgedistill.files import write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.sections import PreferConfig
from edgedistill.shards import on_demand
from edgedistill.store import stage
from edgedistill.task import Task


@dataclass(frozen=True)
class Rated:
    """By task: its exam, its drafts, those that the student has room for, and their scores."""

    exams: dict[str, exam.Exam]
    drafts: dict[str, list[Draft]]
    fitting: dict[str, list[Draft]]
    scored: dict[str, scoring.Scored]

    @property
    def scores(self) -> list[Score]:
        return [score for one in self.scored.values() for score in one.scores]


def rated(
    out: Path,
    drafts: Drafts,
    student: Model,
    tasks: list[Task],
    config: PreferConfig,
    seed: int,
    respondents: Sequence[Model] = (),
) -> Rated:
    """Choose an exam and score every draft on it. Leaves exam.jsonl, scores.jsonl, and responses.jsonl with `irt`."""
    context.check(student, tasks, config)
    asked = exam.sit(out, [student, *respondents], tasks, config, seed) if config.exam == "irt" else []
    exams = {task.name: exam.choose(task, config, seed, _of(task, asked)) for task in tasks}
    write_rows(out / "exam.jsonl", [row for chosen in exams.values() for row in chosen.rows])
    if asked:
        write_rows(out / "responses.jsonl", asked)
    own = {task.name: [draft for draft in drafts.rows() if draft.task == task.name] for task in tasks}
    fitting = {task.name: context.fitting(own[task.name], student, task, config) for task in tasks}
    found = Rated(exams, own, fitting, _score(out, fitting, exams, student, tasks, config, seed))
    write_rows(out / "scores.jsonl", map(asdict, found.scores))
    return found


@stage(version=1)
def rate(
    out: Path,
    drafts: Drafts,
    student: Model,
    tasks: list[Task],
    config: PreferConfig,
    seed: int,
    respondents: Sequence[Model] = (),
) -> Preferences:
    """Score every draft with the config's signal; no pairs are made, so pairs.jsonl is empty.

    Leaves, raises  as `prefer`
    """
    scores = rated(out, drafts, student, tasks, config, seed, respondents).scores
    write_rows(out / "pairs.jsonl", [])
    mean = fmean(score.score for score in scores) if scores else 0.0
    write_json(out / "counts.json", {"rows": len(scores), "summary": f"{len(scores):,} drafts, mean {mean:.3f}"})
    return Preferences(out)


def _of(task: Task, responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in responses if row["task"] == task.name]


def _score(
    out: Path,
    drafts: dict[str, list[Draft]],
    exams: dict[str, exam.Exam],
    student: Model,
    tasks: list[Task],
    config: PreferConfig,
    seed: int,
) -> dict[str, scoring.Scored]:
    """By task. The student is opened once, and only when there is something left to ask."""
    total = sum(len(drafts[name]) * len(chosen.items) for name, chosen in exams.items())
    folders = {task.name: out / "shards" / task.name for task in tasks}
    done = sum(scoring.finished(folders[name], drafts[name], chosen.items) for name, chosen in exams.items())
    with on_demand(student, out) as opened, progress("prefer", round(total * config.budget), done) as advance:
        return {
            task.name: scoring.score(
                folders[task.name], drafts[task.name], exams[task.name].items, task, opened, config, seed, advance
            )
            for task in tasks
        }
