"""Stage 1: the unaligned teacher drafts questions, and several rationales for each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgedistill import drafting, rationales
from edgedistill.artifacts import Drafts
from edgedistill.files import write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.prompts import styled_prompt
from edgedistill.sections import ElicitConfig
from edgedistill.shards import Row, on_demand, seed_of
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=2)  # v2: near duplicates are dropped, damaged tags repaired; a small first shard of rationales
def elicit(out: Path, teacher: Model, tasks: list[Task], config: ElicitConfig, seed: int) -> Drafts:
    """The teacher writes questions from three rotating seeds per prompt, then one rationale per style for each.

    Leaves  drafts.jsonl     id, task, question, answer (the teacher's target), style, rationale
            rejected.jsonl   the same with `reason`: no_answer, empty_answer
            counts.json      per task: prompts, parsed, repaired, malformed, duplicates and near duplicates by what they
                             equal, drafts, rejected by reason
    Raises  StageFailed when a task has too few usable questions, or its first rationales have no answer
    Source  ARTE, arXiv:2406.19227v1, sec. 3.1; whether a rationale reaches the target is not looked at, as there
    """
    drafts: list[Row] = []
    rejected: list[Row] = []
    by_task: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    total = config.questions * sum(1 + len(config.styles_of(task.name)) for task in tasks)
    with on_demand(teacher, out) as opened, progress("elicit", total) as advance:
        for task in tasks:
            shards, counts, what = out / "shards" / task.name, by_task[task.name], f"elicit: task `{task.name}`"
            own_seed = seed_of(seed, "elicit", task.name)
            questions = drafting.write_questions(
                shards / "questions", opened, task, config.questions, config, own_seed, counts, what, advance
            )
            asked = [(question, style) for question in questions for style in config.styles_of(task.name)]
            texts = rationales.write(
                shards / "rationales",
                opened,
                [styled_prompt(task.info.description, question.question, style) for question, style in asked],
                config.max_rationale_tokens,
                config.temperature,
                own_seed,
                what,
                advance,
            )
            for (question, style), text in zip(asked, texts, strict=True):
                row = _draft(task, question, style.name, text)
                reason = rationales.why_unusable(text)
                counts[reason or "drafts"] += 1
                (rejected if reason else drafts).append({**row, "reason": reason} if reason else row)
    write_rows(out / "drafts.jsonl", drafts)
    write_rows(out / "rejected.jsonl", rejected)
    asked_for = len(tasks) * config.questions
    summary = f"{len(drafts):,} drafts of {asked_for:,} questions"
    write_json(out / "counts.json", {"rows": len(drafts), "summary": summary, "tasks": by_task})
    return Drafts(out)


def _draft(task: Task, question: drafting.Question, style: str, rationale: str) -> Row:
    return {
        "id": f"{task.name}/{question.number:04}/{style}",
        "task": task.name,
        "question": question.question,
        "answer": question.answer,
        "style": style,
        "rationale": rationale.strip(),
    }
