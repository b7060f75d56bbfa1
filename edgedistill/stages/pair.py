"""The scores of drafts, paired in another way: what `prefer` ends with, for scores that are there already."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from edgedistill import pairs
from edgedistill.artifacts import Drafts, Preferences
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.sections import PreferConfig
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=2)  # v2: ties are told by the interval of the gap
def pair(
    out: Path, drafts: Drafts, rated: Preferences, tasks: list[Task], config: PreferConfig, seed: int
) -> Preferences:
    """Pair the best with the worst, as the config says; of its fields those about the exam do not matter.

    Leaves  exam.jsonl and scores.jsonl as they were, pairs.jsonl, counts.json
    Raises  StageFailed when no pair is left
    """
    scores = {score.draft_id: score for score in rated.scores()}
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    rows = [draft for draft in drafts.rows() if draft.id in scores]
    own = {task.name: [draft for draft in rows if draft.task == task.name] for task in tasks}
    made = pairs.of_tasks(own, scores, tasks, config, seed, by_task)
    if not any(one.label == pairs.PREFERRED for one in made):
        told = "; ".join(f"{name}: {dict(counts)}" for name, counts in by_task.items())
        raise StageFailed(f"pair: no pair is left ({told})", "lower `prefer.min_gap`, or raise `elicit.questions`")
    for name in ("exam.jsonl", "scores.jsonl"):
        shutil.copyfile(rated.path / name, out / name)
    write_rows(out / "pairs.jsonl", map(asdict, made))
    summary = pairs.summary(made, len(scores))
    write_json(out / "counts.json", {"rows": len(made), "summary": summary, "tasks": by_task})
    return Preferences(out)
