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
from edgedistill.sections import CalibrateConfig
from edgedistill.shards import shard
from edgedistill.stages.distill import plain_rows
from edgedistill.store import stage
from edgedistill.task import Task

if TYPE_CHECKING:
    from edgedistill.imatrix_file import Importance

_CHUNK_TOKENS = 512
"""What llama.cpp counts calibration text in."""


@stage(version=2)  # v2: a large vocabulary no longer leaves most rows unmeasured
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
            sensitivity.jsonl  when `measures_tensors`: a line per matrix, see mix.py; counts.json has the `positions`
                               (tokens) that they were compared at
    Raises  StageFailed when no row is short enough, or none has an answer
    """
    from edgedistill.ml import calibration

    documents = source.documents() if isinstance(source, Text) else []
    pairs = [] if isinstance(source, Text) else plain_rows(tasks, source)
    rows = calibration.rows(student.path, pairs, documents, config.max_tokens)
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
        positions = _measure(out, model, student.path, parts["sensitivity"], found) if measures_tensors else 0
    tokens = sum(len(ids) for ids, _ in parts["importance"])
    count = {part: len(own) for part, own in parts.items()}
    summary = f"{tokens:,} tokens of {count['importance']:,} rows, {count['held_out']:,} rows held out"
    summary += f", tensors measured at {positions:,} tokens of others" if positions else ""
    counts = {"rows": count["importance"], **count, "tokens": tokens, "positions": positions}
    write_json(out / "counts.json", {**counts, "summary": summary})
    return Calibration(out)


def _measure(
    out: Path, model: Any, path: Path, rows: list[tuple[list[int], int]], importance: Mapping[str, Importance]
) -> int:
    """One shard per matrix; a rerun goes on behind the last whole one. Returns the tokens that are compared."""
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
    return sensitivity.positions


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


def _name(source: Tailored | Text) -> str:
    return source.path.name if isinstance(source, Text) else "tailored rows"
