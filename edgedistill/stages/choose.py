"""Training rows out of the drafts alone, no teacher trained: the arms that alignment has to beat."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean

from edgedistill.artifacts import Draft, Drafts, Preferences, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.shards import Row, seed_of
from edgedistill.store import stage

BEST, ONE_STYLE = "best", "one-style"


@stage(version=1)
def choose(out: Path, drafts: Drafts, preferences: Preferences, choice: str, seed: int) -> Tailored:
    """One of the drafted rationales for each question.

    choice  `best`: the one with the highest score; equal scores are decided by the seed
            `one-style`: that of the style whose mean score is the task's highest, for all questions that have it
    Leaves  rows.jsonl   id, task, question, answer (the teacher's target), rationale
            counts.json  per task: how many rows have which style
    Raises  StageFailed when no draft has a score
    Source  ARTE, arXiv:2406.19227v1: `best` is the arm Original Teacher of sec. 4.1; `one-style` is of appendix C,
            which does not say how the style is found
    """
    scores = {score.draft_id: score.score for score in preferences.scores()}
    scored = [draft for draft in drafts.rows() if draft.id in scores]
    if not scored:
        raise StageFailed("choose: no draft has a score", "`--fresh prefer` scores them again")
    chosen = _one_style(scored, scores, seed) if choice == ONE_STYLE else _best(scored, scores, seed)
    write_rows(out / "rows.jsonl", map(_row, chosen))
    styles = Counter(draft.style for draft in chosen)
    by_task: dict[str, Counter[str]] = defaultdict(Counter)
    for draft in chosen:
        by_task[draft.task][draft.style] += 1
    summary = f"{len(chosen):,} rows: " + ", ".join(f"{style} {count:,}" for style, count in styles.most_common())
    write_json(out / "counts.json", {"rows": len(chosen), "summary": summary, "tasks": by_task})
    return Tailored(out)


def _best(drafts: list[Draft], scores: dict[str, float], seed: int) -> list[Draft]:
    """The draft with the highest score of each question, in the order of the questions."""
    by_question: dict[tuple[str, str], list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_question[draft.task, draft.question].append(draft)
    # Not the first of equals: that would always be the same style.
    return [max(own, key=lambda draft: (scores[draft.id], _coin(seed, draft.id))) for own in by_question.values()]


def _one_style(drafts: list[Draft], scores: dict[str, float], seed: int) -> list[Draft]:
    """The drafts of the style with the highest mean score of their task."""
    by_style: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for draft in drafts:
        by_style[draft.task][draft.style].append(scores[draft.id])
    best = {
        task: max(styles, key=lambda style: (fmean(styles[style]), _coin(seed, style)))
        for task, styles in by_style.items()
    }
    return [draft for draft in drafts if draft.style == best[draft.task]]


def _coin(seed: int, name: str) -> int:
    return seed_of(seed, "choose", name)


def _row(draft: Draft) -> Row:
    return {
        "id": draft.id.rpartition("/")[0],
        "task": draft.task,
        "question": draft.question,
        "answer": draft.answer,
        "rationale": draft.rationale,
    }
