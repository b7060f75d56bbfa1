"""How a teacher writes rationales, and which of them teach something. `elicit`, `tailor` and `answer` share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgedistill.engine import Engine, user
from edgedistill.errors import StageFailed, UsageError
from edgedistill.files import write_json, write_rows
from edgedistill.prompts import excerpt, extract_answer, plain_prompt
from edgedistill.sections import TailorConfig
from edgedistill.shards import Row, seed_of, shard
from edgedistill.task import Task

FIRST_ANSWERS = 64
"""Rationales of the first shard: when none of them has an answer in its tags, the rest is not asked for."""
ANSWERS_PER_SHARD = 512
END_OF_ANSWER = "</ans>"
"""Nothing after it is read, so nothing after it is generated."""


def write(
    folder: Path,
    teacher: Callable[[], Engine],
    prompts: Sequence[str],
    max_tokens: int,
    temperature: float,
    seed: int,
    what: str,
    on_done: Callable[[int], None],
) -> list[str]:
    """One rationale per prompt, up to the end of its `<ans>…</ans>`, in shards under `folder`.

    Raises  StageFailed when none of the first FIRST_ANSWERS has an answer; `what` (stage and task) opens its message
    """
    texts: list[str] = []
    while len(texts) < len(prompts):
        start = len(texts)
        asked = [user(prompt) for prompt in prompts[start : start + (ANSWERS_PER_SHARD if start else FIRST_ANSWERS)]]
        number = 1 + (start - FIRST_ANSWERS) // ANSWERS_PER_SHARD if start else 0
        rows = shard(folder, number, lambda: _ask(teacher(), asked, max_tokens, temperature, seed, number))  # noqa: B023
        texts += [row["text"] for row in rows]
        on_done(len(rows))
        if not start and all(map(why_unusable, texts)):
            raise _never_answers(what, texts, len(prompts))
    return texts


def _ask(
    teacher: Engine, asked: Sequence[Any], max_tokens: int, temperature: float, seed: int, number: int
) -> list[Row]:
    own_seed = seed_of(seed, "answers", number)
    texts = teacher.generate(asked, max_tokens=max_tokens, temperature=temperature, seed=own_seed, stop=END_OF_ANSWER)
    return [{"text": text} for text in texts]


def why_unusable(rationale: str) -> str | None:
    """The reason why nothing can be learnt from a rationale; None where it can."""
    answer = extract_answer(rationale)
    if answer is None:
        return "no_answer"
    return None if answer else "empty_answer"


def _never_answers(what: str, texts: Sequence[str], wanted: int) -> StageFailed:
    first = f"the first {len(texts):,} of {wanted:,}" if len(texts) < wanted else f"{wanted:,}"
    return StageFailed(
        f"{what}: none of {first} rationales has an answer in <ans></ans>; the teacher says: {excerpt(texts[0])}",
        "raise `max_rationale_tokens` if it is cut off, lower `align.learning_rate` if only the aligned teacher does "
        "this, or choose a teacher that follows the prompt; what it wrote is kept",
    )


def plain(
    folder: Path,
    teacher: Callable[[], Engine],
    task: Task,
    questions: Sequence[Row],
    config: TailorConfig,
    seed: int,
    counts: Counter[str],
    what: str,
    on_done: Callable[[int], None],
) -> tuple[list[Row], list[Row]]:
    """One rationale at temperature 0 for each question (id, task, question, answer), on the plain prompt.

    Returns  rows with `rationale`, and those that are dropped, with `reason`: no_answer, empty_answer, misses_target
    Adds     to `counts`: agrees, disagrees (whether the rationale's answer is the target), rows, and each reason
    Raises   StageFailed when no row is left
    Source   ARTE, arXiv:2406.19227v1, appendix F. Whether a rationale reaches its target is not looked at there
    """
    prompts = [plain_prompt(task.info.description, row["question"]) for row in questions]
    texts = write(folder, teacher, prompts, config.max_rationale_tokens, 0.0, seed, what, on_done)
    kept: list[Row] = []
    dropped: list[Row] = []
    for question, text in zip(questions, texts, strict=True):
        row = {**question, "rationale": text.strip()}
        reason = why_unusable(text)
        if reason is None:
            agrees = reaches(task, text, question["answer"])
            counts["agrees" if agrees else "disagrees"] += 1
            reason = None if agrees or not config.check_answers else "misses_target"
        counts[reason or "rows"] += 1
        (dropped if reason else kept).append({**row, "reason": reason} if reason else row)
    if not kept:
        told = ", ".join(
            f"{count:,} {reason.replace('_', ' ')}"
            for reason, count in Counter(row["reason"] for row in dropped).items()
        )
        raise StageFailed(
            f"{what}: none of {len(texts):,} rationales is left ({told})",
            "look at the shards, and leave out `check_answers` if the targets are wrong rather than the rationales",
        )
    return kept, dropped


def reaches(task: Task, rationale: str, target: str) -> bool:
    """Whether a rationale's answer is right by the task's grader; never for a target that the grader cannot read."""
    try:
        return task.grader.is_right(extract_answer(rationale), target)
    except UsageError:
        return False


def leave(out: Path, kept: list[Row], dropped: list[Row], by_task: dict[str, Counter[str]], note: str = "") -> None:
    """Write rows.jsonl, rejected.jsonl and counts.json of a Tailored artifact."""
    write_rows(out / "rows.jsonl", kept)
    write_rows(out / "rejected.jsonl", dropped)
    total = sum(by_task.values(), Counter[str]())
    judged = total["agrees"] + total["disagrees"]
    share = f"{total['agrees'] / judged:.0%} reach their target"
    summary = ", ".join(filter(None, [f"{len(kept):,} rows", note, share]))
    write_json(out / "counts.json", {"rows": len(kept), "summary": summary, "tasks": by_task})
