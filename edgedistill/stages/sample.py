"""As many training rows for one arm as for every other, so that arms differ in their data and not in its amount."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgedistill.artifacts import Tailored, TailoredRow
from edgedistill.files import write_json, write_rows
from edgedistill.shards import seed_of
from edgedistill.store import stage


@stage(version=1)
def sample(out: Path, tailored: Tailored, beside: list[Tailored], rows: int | None, seed: int) -> Tailored:
    """Per task as many rows of `tailored` as the one of `beside` that has fewest, and at most `rows`.

    Which rows is drawn by their questions, so that arms with the same questions keep the same ones.

    Leaves  rows.jsonl; counts.json with the rows per task, and those that were left out
    Source  ARTE, arXiv:2406.19227v1, sec. 4.1: every baseline is sub-sampled to the same count
    """
    own = list(tailored.rows())
    tasks = list(dict.fromkeys(row.task for row in own))
    counts = [Counter(row.task for row in other.rows()) for other in (tailored, *beside)]
    kept: list[TailoredRow] = []
    for task in tasks:
        most = min(*(count[task] for count in counts), *([rows] if rows else []))
        drawn = sorted((row for row in own if row.task == task), key=lambda row: seed_of(seed, "sample", row.question))
        kept += sorted(drawn[:most], key=lambda row: row.id)
    write_rows(out / "rows.jsonl", map(vars, kept))
    left = {task: {"rows": count, "left_out": counts[0][task] - count} for task, count in _by_task(kept).items()}
    summary = f"{len(kept):,} of {len(own):,} rows"
    write_json(out / "counts.json", {"rows": len(kept), "summary": summary, "tasks": left})
    return Tailored(out)


def _by_task(rows: list[TailoredRow]) -> Counter[str]:
    return Counter(row.task for row in rows)
