"""How good a model is on the test items: its answers, graded and kept; shares with intervals; paired comparisons."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import prompts, statistics
from edgedistill.engine import Engine, Messages, user
from edgedistill.files import read_rows, write_rows
from edgedistill.log import progress
from edgedistill.shards import shard, shard_path
from edgedistill.task import Item, Task

Row = dict[str, Any]
"""One graded answer: task, id, expected, given (None without `<ans>…</ans>`), right, text."""

SHARD = 512
"""Test items that are answered between two saves."""


@dataclass(frozen=True)
class Questions:
    """The test items of all tasks, asked with the plain prompt."""

    items: list[tuple[Task, Item]]
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
    folder = out / "shards" / name
    starts = range(0, len(questions.items), SHARD)
    done = SHARD * sum(shard_path(folder, start // SHARD).is_file() for start in starts)
    rows: list[Row] = []
    with progress(f"answers of {name}", len(questions.items), min(done, len(questions.items))) as advance:
        for start in starts:

            def make(start: int = start) -> list[Row]:
                return _asked(engine, questions, slice(start, start + SHARD), advance)

            rows += shard(folder, start // SHARD, make)
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


def _asked(engine: Engine, questions: Questions, part: slice, advance: Any) -> list[Row]:
    texts = engine.generate(questions.conversations[part], max_tokens=questions.max_tokens, on_done=advance)
    return [_graded(task, item, text) for (task, item), text in zip(questions.items[part], texts, strict=True)]


def _graded(task: Task, item: Item, text: str) -> Row:
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


def student_line(base: Sequence[Row], tuned: Sequence[Row], tasks: Sequence[Task]) -> dict[str, Any]:
    """`student` of the report's schema."""
    line: dict[str, Any] = {}
    for name, rows in (("base", base), ("tuned", tuned)):
        right = sum(row["right"] for row in rows)
        interval = statistics.wilson(right, len(rows))
        line |= _rounded(
            {
                f"{name}_accuracy": right / len(rows),
                f"{name}_ci_low": interval.low,
                f"{name}_ci_high": interval.high,
            }
        )
    return {**line, "n": len(tuned), "details": details(tuned, tasks), "base_details": details(base, tasks)}


def candidate_line(before: Sequence[Row], after: Sequence[Row], tasks: Sequence[Task]) -> dict[str, Any]:
    """`accuracy` of the report's schema: a candidate, paired with the float student on the same items."""
    right = sum(row["right"] for row in after)
    interval = statistics.wilson(right, len(after))
    drop = statistics.paired_drop([row["right"] for row in before], [row["right"] for row in after])
    figures = {
        "value": right / len(after),
        "ci_low": interval.low,
        "ci_high": interval.high,
        "drop": drop.drop,
        "drop_ci_low": drop.interval.low,
        "drop_ci_high": drop.interval.high,
        "mcnemar_p": drop.mcnemar_p,
    }
    return {**_rounded(figures), "n": drop.n, "details": details(after, tasks)}


def shift_line(before: Any, after: Any) -> dict[str, float]:
    """How far the first token's distribution moved, in nats, from the float student's to the candidate's.

    before, after  (prompts, vocabulary) float32 log probabilities
    """
    import numpy as np

    width = min(before.shape[1], after.shape[1])  # a runtime may leave out rows that only pad the vocabulary
    before, after = before[:, :width], after[: len(before), :width]
    kl = np.maximum(0.0, (np.exp(before) * (before - after)).sum(axis=1))
    same = before.argmax(axis=1) == after.argmax(axis=1)
    return _rounded(
        {"kl_mean": float(kl.mean()), "kl_p99": float(np.quantile(kl, 0.99)), "same_top1": float(same.mean())}
    )


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}
