"""Stage 4: the aligned teacher writes the student's training data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgedistill import drafting, rationales
from edgedistill.artifacts import Tailored
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.sections import TailorConfig
from edgedistill.shards import Row, on_demand, seed_of
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=2)  # v2: near duplicates are dropped, damaged tags repaired, answers checked against their targets
def tailor(out: Path, writer: Model, tasks: list[Task], config: TailorConfig, seed: int) -> Tailored:
    """The aligned teacher writes questions at the config's temperature, and one plain rationale each at 0.

    Leaves  rows.jsonl      id, task, question, answer (the teacher's target), rationale
            rejected.jsonl  the same with `reason`: no_answer, empty_answer, misses_target
            counts.json     per task: prompts, parsed, repaired, malformed, duplicates by what they equal, agrees and
                            disagrees (the rationale's answer with the target), rows, rejected by reason
    Raises  StageFailed when a task has too few usable questions, or no usable rationale
    Source  ARTE, arXiv:2406.19227v1, appendix F; sec. 3.3 says temperature 0 for both, which gives nothing new
    """
    kept: list[Row] = []
    dropped: list[Row] = []
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    with on_demand(writer, out) as opened, progress("tailor", 2 * len(tasks) * config.rows) as advance:
        for task in tasks:
            shards, counts, what = out / "shards" / task.name, by_task[task.name], f"tailor: task `{task.name}`"
            own_seed = seed_of(seed, "tailor", task.name)
            questions = drafting.write_questions(
                shards / "questions", opened, task, config.rows, config, own_seed, counts, what, advance
            )
            asked = [_asked(task, question) for question in questions]
            own, lost = rationales.plain(
                shards / "rationales", opened, task, asked, config, own_seed, counts, what, advance
            )
            kept += own
            dropped += lost
    duplicates = sum(count for counts in by_task.values() for name, count in counts.items() if "duplicate" in name)
    rationales.leave(out, kept, dropped, by_task, f"{duplicates:,} duplicates removed")
    return Tailored(out)


def _asked(task: Task, question: drafting.Question) -> Row:
    return {
        "id": f"{task.name}/{question.number:05}",
        "task": task.name,
        "question": question.question,
        "answer": question.answer,
    }
