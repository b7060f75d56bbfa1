"""How good a model is on the test items: its answers, graded and kept; shares with intervals; paired comparisons."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import prompts, statistics
from edgedistill.engine import Engine, Messages, user
from edgedistill.files import read_rows, write_rows
from edgedistill.shards import in_shards
from edgedistill.task import Item, Task

Row = dict[str, Any]
"""One graded answer: task, id, expected, given (None without `<ans>…</ans>`), right, text."""

SHARD = 512
"""Test items that are answered between two saves."""


@dataclass(frozen=True)
class Taken:
    """One model's answers to the same items, taken in one or more ways."""

    answers: list[Row]
    """Written freely."""
    likelihood: list[Row] | None = None
    """The likeliest option of the questions that have some (multiple_choice.py)."""
    grammar: list[Row] | None = None
    """Written within the tasks' grammars (in_grammar.py)."""

    def deciding(self, gate: str) -> list[Row]:
        """The rows that the gate looks at, in the order of the items."""
        if gate == "generation" or not self.likelihood:
            return self.answers
        chosen = {(row["task"], row["id"]): row for row in self.likelihood}
        return [chosen.get((row["task"], row["id"]), row) for row in self.answers]


@dataclass(frozen=True)
class Questions:
    """The test items of all tasks, asked with the plain prompt."""

    items: Sequence[tuple[Task, Item]]
    max_tokens: int
    """Room for one answer."""

    @property
    def conversations(self) -> list[Messages]:
        return [user(prompts.plain_prompt(task.info.description, item.question)) for task, item in self.items]

    @property
    def tasks(self) -> list[Task]:
        return list({task.name: task for task, _ in self.items}.values())


def of(tasks: Sequence[Task], max_tokens: int) -> Questions:
    return Questions([(task, item) for task in tasks for item in task.test], max_tokens)


def path_of(out: Path, name: str) -> Path:
    """Where a model's graded answers lie."""
    return out / "answers" / f"{name}.jsonl"


def answer(out: Path, name: str, engine: Engine, questions: Questions) -> list[Row]:
    """The graded answers of one model, in the order of the items; what an interrupted run answered is kept.

    Leaves  answers/<name>.jsonl
    """
    kept = finished(out, name)
    if kept is not None:
        return kept

    def make(part: Sequence[tuple[Task, Item]], number: int, advance: Callable[[int], None]) -> list[Row]:
        return _asked(engine, replace(questions, items=part), advance)

    rows = in_shards(out / "shards" / name, questions.items, SHARD, f"answers of {name}", make)
    write_rows(path_of(out, name), rows)
    return finished(out, name) or []


def finished(out: Path, name: str) -> list[Row] | None:
    """The answers of a model that has given all of them, else None. The shards they were made of are removed, also
    those that a kill left beside them.
    """
    path = path_of(out, name)
    if not path.is_file():
        return None
    shutil.rmtree(out / "shards" / name, ignore_errors=True)
    return list(read_rows(path))


def _asked(engine: Engine, questions: Questions, on_done: Callable[[int], None]) -> list[Row]:
    texts = engine.generate(questions.conversations, max_tokens=questions.max_tokens, on_done=on_done)
    return [graded(task, item, text) for (task, item), text in zip(questions.items, texts, strict=True)]


def graded(task: Task, item: Item, text: str) -> Row:
    given = prompts.extract_answer(text)
    return {
        "task": task.name,
        "id": item.id,
        "expected": item.answer,
        "given": given,
        "right": task.grader.is_right(given, item.answer),
        "text": text,
    }


def details(rows: Sequence[Row], tasks: Sequence[Task]) -> dict[str, float]:
    """The graders' further figures and the share of answers in the right form; task names before them when several."""
    found: dict[str, float] = {}
    for task in tasks:
        mine = [row for row in rows if row["task"] == task.name]
        figures = task.grader.details([row["given"] for row in mine], [row["expected"] for row in mine])
        figures = {"format_rate": sum(row["given"] is not None for row in mine) / max(1, len(mine)), **figures}
        prefix = f"{task.name}." if len(tasks) > 1 else ""
        found |= {f"{prefix}{name}": round(value, 6) for name, value in figures.items()}
    return found


def student_line(base: Sequence[Row], tuned: Taken, tasks: Sequence[Task]) -> dict[str, Any]:
    """`student` of the report's schema; empty without test items."""
    if not tuned.answers:
        return {}
    line: dict[str, Any] = {}
    for name, rows in (("base", base), ("tuned", tuned.answers)):
        found = _share(rows)
        line |= {f"{name}_accuracy": found["value"], f"{name}_ci_low": found["ci_low"]}
        line[f"{name}_ci_high"] = found["ci_high"]
    ways = {"generation": _share(tuned.answers)}
    if tuned.likelihood:
        ways["likelihood"] = _share(tuned.likelihood)
    figures = {"details": details(tuned.answers, tasks), "base_details": details(base, tasks)}
    return {**line, "n": len(tuned.answers), **figures, "ways": ways}


def candidate_line(before: Taken, after: Taken, tasks: Sequence[Task], gate: str) -> dict[str, Any]:
    """`accuracy` of the report's schema: a candidate, paired with the float student on the same items.

    gate  `generation` or `likelihood`: which figure decides for questions with options
    """
    one, other = before.deciding(gate), after.deciding(gate)
    drop = statistics.paired_drop([row["right"] for row in one], [row["right"] for row in other])
    ways = {"generation": _way(before.answers, after.answers), "likelihood": _way(before.likelihood, after.likelihood)}
    if after.grammar is not None:  # the float student answers freely, so there is no pair
        ways["grammar"] = _share(after.grammar)
    return {
        **_paired(one, other),
        "lost": drop.lost,
        "gained": drop.gained,
        "bootstrap_low": round(drop.bootstrap.low, 6),
        "bootstrap_high": round(drop.bootstrap.high, 6),
        "format_rate": round(format_rate(after.answers, tasks), 6),
        "length_ratio": _length_ratio(before.answers, after.answers),
        "ways": {name: way for name, way in ways.items() if way},
        "details": details(after.answers, tasks),
    }


def _way(before: Sequence[Row] | None, after: Sequence[Row] | None) -> dict[str, Any]:
    return _paired(before, after) if before and after else {}


def _paired(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Any]:
    """The share that is right after, and how far it fell."""
    drop = statistics.paired_drop([row["right"] for row in before], [row["right"] for row in after])
    figures = {"drop": drop.drop, "drop_ci_low": drop.interval.low, "drop_ci_high": drop.interval.high}
    return {**_share(after), **_rounded({**figures, "mcnemar_p": drop.mcnemar_p})}


def _share(rows: Sequence[Row]) -> dict[str, Any]:
    right = sum(row["right"] for row in rows)
    interval = statistics.wilson(right, len(rows))
    figures = {"value": right / len(rows), "ci_low": interval.low, "ci_high": interval.high}
    return {**_rounded(figures), "n": len(rows)}


def worst_drop(line: dict[str, Any]) -> float:
    """The largest drop that either interval of an `accuracy` line allows for: a margin is kept when this is within."""
    return float(max(line["drop_ci_high"], line["bootstrap_high"]))


def format_rate(rows: Sequence[Row], tasks: Sequence[Task]) -> float:
    """Share of answers in the form that the task's grader can read; `<ans>…</ans>` where it knows no other."""
    graders = {task.name: task.grader for task in tasks}

    def has_form(row: Row) -> float:
        found = graders[row["task"]].details([row["given"]], [row["expected"]])
        return found.get("format_rate", float(row["given"] is not None))

    return sum(map(has_form, rows)) / len(rows)


def _length_ratio(before: Sequence[Row], after: Sequence[Row]) -> float | None:
    """Characters of all answers against those before; a model that was hurt rambles or falls silent."""
    was, now = (sum(len(row["text"]) for row in rows) for rows in (before, after))
    return round(now / was, 4) if was else None


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}
