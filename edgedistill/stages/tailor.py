"""Stage 4: the aligned teacher writes the student's training data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgedistill import drafting
from edgedistill.artifacts import Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.sections import TailorConfig
from edgedistill.shards import Row, on_demand, seed_of
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=1)
def tailor(out: Path, writer: Model, tasks: list[Task], config: TailorConfig, seed: int) -> Tailored:
    """The aligned teacher writes questions at the config's temperature, and one plain rationale each at 0.

    Leaves  rows.jsonl      id, task, question, answer (the teacher's target), rationale
            rejected.jsonl  the same with `reason`: no_answer, empty_answer
            counts.json     per task: prompts, parsed, malformed, duplicates by what they equal, rejected by reason
    Raises  StageFailed when a task has too few usable questions, or no usable rationale at all
    Source  ARTE, arXiv:2406.19227v1, appendix F; sec. 3.3 says temperature 0 for both, which gives nothing new
    """
    kept: list[Row] = []
    rejected: list[Row] = []
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    with on_demand(writer) as opened, progress("tailor", 2 * len(tasks) * config.rows) as advance:
        for task in tasks:
            shards, counts = out / "shards" / task.name, by_task[task.name]
            own_seed = seed_of(seed, "tailor", task.name)
            questions = drafting.write_questions(
                shards / "questions", opened, task, config.rows, config, own_seed, counts, advance
            )
            prompts = [plain_prompt(task.info.description, question.question) for question in questions]
            texts = drafting.write_answers(
                shards / "rationales", opened, prompts, config.max_rationale_tokens, 0.0, own_seed, advance
            )
            for question, text in zip(questions, texts, strict=True):
                row = _row(task, question, text)
                reason = drafting.why_unusable(text)
                counts[reason or "rows"] += 1
                (rejected if reason else kept).append({**row, "reason": reason} if reason else row)
            if not counts["rows"]:
                raise StageFailed(
                    f"tailor: none of {len(texts):,} rationales for task `{task.name}` has an answer in <ans></ans>",
                    "lower `align.learning_rate`, or raise `tailor.max_rationale_tokens`",
                )
    write_rows(out / "rows.jsonl", kept)
    write_rows(out / "rejected.jsonl", rejected)
    duplicates = sum(count for counts in by_task.values() for name, count in counts.items() if "duplicate" in name)
    summary = f"{len(kept):,} rows, {duplicates:,} duplicates removed"
    write_json(out / "counts.json", {"rows": len(kept), "summary": summary, "tasks": by_task})
    return Tailored(out)


def _row(task: Task, question: drafting.Question, rationale: str) -> Row:
    return {
        "id": f"{task.name}/{question.number:05}",
        "task": task.name,
        "question": question.question,
        "answer": question.answer,
        "rationale": rationale.strip(),
    }
