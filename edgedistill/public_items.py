"""Test items from other files than the task's own, e.g. those of a public benchmark: found, checked, read.

    DIR/navigate.json     {"examples": [{"input": question, "target": answer}, …]}, as BIG-Bench-Hard publishes them
    DIR/navigate.jsonl    id, question, answer on each line, as in a task's test.jsonl

task.yaml says which files of DIR are the task's (`public_test`); without it they are named after the task's folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedistill.errors import UsageError
from edgedistill.files import read_json, read_rows

Row = dict[str, Any]

_LIMIT = 50_000_000
"""Bytes of one file; the largest public one has 0.3 MB."""


def find(folder: Path, task: str, public_test: Sequence[str]) -> tuple[Path, ...]:
    """The files of one task in `folder`. Raises UsageError that names what is missing, and where it was looked for."""
    if not folder.is_dir():
        raise UsageError(f"test items: folder {folder} does not exist", "give the folder that holds the public files")
    if public_test:
        missing = [name for name in public_test if not (folder / name).is_file()]
        if missing:
            named = ", ".join(str(folder / name) for name in missing)
            raise UsageError(
                f"test items of task `{task}`: {named} does not exist",
                f"put the public file there under the name that task.yaml gives it: {', '.join(missing)}",
            )
        return tuple(folder / name for name in public_test)
    for name in (f"{task}.json", f"{task}.jsonl"):
        if (folder / name).is_file():
            return (folder / name,)
    raise UsageError(
        f"test items of task `{task}`: neither {task}.json nor {task}.jsonl is in {folder}",
        "add one, or name the public files as `public_test` in task.yaml",
    )


def read(files: Sequence[Path]) -> list[Row]:
    """The items of one task: id, question, answer. Ids are file name and number, for files that give none.

    Raises   UsageError with the file and the row for what has another shape, is empty, or repeats an id
    """
    rows = [row for path in files for row in _rows(path)]
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise UsageError(f"test items {', '.join(map(str, files))}: id `{row['id']}` is used twice")
        seen.add(row["id"])
    return rows


def _rows(path: Path) -> list[Row]:
    if path.stat().st_size > _LIMIT:
        raise UsageError(f"test items {path}: {path.stat().st_size:,} bytes, at most {_LIMIT:,} are read")
    try:
        given = list(read_rows(path)) if path.suffix == ".jsonl" else _examples(path, read_json(path))
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or bytes that are not UTF-8
        raise UsageError(f"test items {path}: not JSON: {error}") from None
    if not given:
        raise UsageError(f"test items {path}: empty")
    return [_row(path, number, example) for number, example in enumerate(given, start=1)]


def _examples(path: Path, content: Any) -> list[Any]:
    examples = content.get("examples") if isinstance(content, dict) else content
    if not isinstance(examples, list):
        raise UsageError(f"test items {path}: no list of `examples`", "expected {examples: [{input, target}, …]}")
    return examples


def _row(path: Path, number: int, example: Any) -> Row:
    """One item; `input` and `target` are BIG-Bench-Hard's words for question and answer."""
    if isinstance(example, dict):
        found = {
            "id": example.get("id", f"{path.stem}-{number:04}"),
            "question": example.get("question", example.get("input")),
            "answer": example.get("answer", example.get("target")),
        }
        if all(isinstance(value, str) and value.strip() for value in found.values()):
            return found
    raise UsageError(
        f"test items {path}, row {number}: expected `input` and `target`, or `id`, `question` and `answer`, all text; "
        f"got {json.dumps(example)[:80]}"
    )
