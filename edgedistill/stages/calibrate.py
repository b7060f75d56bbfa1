"""What quantization goes by: how much each column of a weight matters, and what each matrix costs in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from edgedistill import imatrix_file
from edgedistill.artifacts import Calibration, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.perplexity import Text
from edgedistill.prompts import plain_prompt
from edgedistill.sections import CalibrateConfig
from edgedistill.shards import shard
from edgedistill.store import stage
from edgedistill.task import Task

if TYPE_CHECKING:
    from edgedistill.imatrix_file import Importance

_CHUNK_TOKENS = 512
"""What llama.cpp counts calibration text in."""


@stage(version=1)
def calibrate(
    out: Path,
    student: Model,
    source: Tailored | Text,
    tasks: list[Task],
    config: CalibrateConfig,
    measures_tensors: bool,
    seed: int,
) -> Calibration:
    """Run the float student over rows of its own kind of text. No exam or test item is read.

    Reads   Tailored: task, question, rationale, in the student's chat template; or running text
    Leaves  rows.jsonl         part (importance, sensitivity, held_out), ids, begin (where the answer begins)
            imatrix.gguf       llama.cpp's importance matrix, of the rows of that part
            sensitivity.jsonl  when `measures_tensors`: a line per matrix, see mix.py
    Raises  StageFailed when no row is short enough
    """
    from edgedistill.ml import calibration

    rows = calibration.rows(student.path, _pairs(source, tasks), _documents(source), config.max_tokens)
    if not rows:
        raise StageFailed(f"calibrate: no row has 2 to {config.max_tokens} tokens", "raise `calibrate.max_tokens`")
    parts = _parts(Random(f"{seed}/calibrate").sample(rows, len(rows)), config)
    write_rows(
        out / "rows.jsonl",
        [{"part": part, "ids": ids, "begin": begin} for part, own in parts.items() for ids, begin in own],
    )
    path = out / "imatrix.gguf"
    with calibration.opened(student) as model:
        with progress("calibrate: importance", len(parts["importance"])) as advance:
            found = calibration.importance(model, student.path, [ids for ids, _ in parts["importance"]], advance)
        imatrix_file.write(path, found, source=_name(source), chunk_tokens=_CHUNK_TOKENS)
        if measures_tensors:
            _measure(out, model, student.path, parts["sensitivity"], found)
    tokens = sum(len(ids) for ids, _ in parts["importance"])
    count = {part: len(own) for part, own in parts.items()}
    summary = f"{tokens:,} tokens of {count['importance']:,} rows" + (", tensors measured" if measures_tensors else "")
    write_json(out / "counts.json", {"rows": count["importance"], **count, "tokens": tokens, "summary": summary})
    return Calibration(out)


def _measure(
    out: Path, model: Any, path: Path, rows: list[tuple[list[int], int]], importance: Mapping[str, Importance]
) -> None:
    """One shard per matrix; a rerun goes on behind the last whole one."""
    from edgedistill.ml.sensitivity import Sensitivity, matrices

    sensitivity, found = Sensitivity(model, rows, importance), matrices(model, path)
    lines = []
    with progress("calibrate: tensors", len(found)) as advance:
        for number, matrix in enumerate(found):

            def make(matrix: Any = matrix) -> list[dict[str, Any]]:
                return [sensitivity.measure(matrix)]

            lines += shard(out / "shards", number, make)
            advance(1)
    write_rows(out / "sensitivity.jsonl", lines)


def _parts(rows: list[tuple[list[int], int]], config: CalibrateConfig) -> dict[str, list[tuple[list[int], int]]]:
    """Rows of their own for each use, in the shares that the config asks for; with a single row, all use it."""
    wanted = {"held_out": config.held_out, "sensitivity": config.sensitivity_rows, "importance": config.rows}
    share = min(1.0, len(rows) / sum(wanted.values()))
    parts, begin = {}, 0
    for part, count in wanted.items():
        end = begin + max(1, int(share * count))
        parts[part] = rows[begin:end] or rows[-1:]
        begin = end
    return parts


def _pairs(source: Tailored | Text, tasks: list[Task]) -> list[tuple[str, str]]:
    """(prompt, answer) as the student was trained on them."""
    if isinstance(source, Text):
        return []
    descriptions = {task.name: task.info.description for task in tasks}
    return [(plain_prompt(descriptions[row.task], row.question), row.rationale) for row in source.rows()]


def _documents(source: Tailored | Text) -> list[str]:
    return source.documents() if isinstance(source, Text) else []


def _name(source: Tailored | Text) -> str:
    return source.path.name if isinstance(source, Text) else "tailored rows"
