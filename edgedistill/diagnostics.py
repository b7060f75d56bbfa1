"""Why an arm won or lost: how far the scores can be trusted, what pairs came of them, how the data differ.

Everything is read from the artifacts of a run; nothing is generated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from edgedistill import rationales
from edgedistill.artifacts import Preferences, Score, Tailored, TailoredRow, Teacher
from edgedistill.pairs import PREFERRED
from edgedistill.task import Task

HALVINGS = 200
_MOST_COMPARED = 200
"""Questions that are compared with each other; beyond, the first in the order of their ids stand for all."""


def signal(preferences: Preferences, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Per task: the scores, their reliability, and the pairs that were made of them or dropped."""
    scores, pairs = defaultdict(list), defaultdict(list)
    for score in preferences.scores():
        scores[score.task].append(score)
    for pair in preferences.pairs():
        if pair.label == PREFERRED:
            pairs[pair.task, pair.level].append(pair.margin)
    counts = preferences.counts().get("tasks", {})
    return [
        {
            "task": task.name,
            "drafts": len(scores[task.name]),
            "exam": fmean([len(_asked(score)) for score in scores[task.name]] or [0]),
            "compared": len(_whole([_asked(score) for score in scores[task.name]])),
            "mean_score": fmean([score.score for score in scores[task.name]] or [0]),
            "sd_score": pstdev([score.score for score in scores[task.name]] or [0]),
            "reliability": reliability([_asked(score) for score in scores[task.name]]),
            "question_pairs": len(pairs[task.name, "question"]),
            "question_gap": _mean(pairs[task.name, "question"]),
            "rationale_pairs": len(pairs[task.name, "rationale"]),
            "rationale_gap": _mean(pairs[task.name, "rationale"]),
            "dropped": _dropped(counts.get(task.name, {})),
        }
        for task in tasks
    ]


def reliability(credits: Sequence[Sequence[float]], seed: int = 0) -> float | None:
    """Split-half: Spearman between the drafts' scores on two disjoint halves of the exam, mean of 200 halvings.

    credits  per draft 0-1 for each exam item, in the same order. Only drafts that were scored on the most items count:
             with racing, the others were scored on some.
    None     where there are fewer than 3 such drafts or 2 items, or all scores are the same.
    """
    import numpy as np

    whole = _whole(credits)
    longest = len(whole[0]) if whole else 0
    if len(whole) < 3 or longest < 2:
        return None
    table = np.array(whole, dtype=np.float64)
    random, half = np.random.default_rng(seed), longest // 2
    found = []
    for _ in range(HALVINGS):
        order = random.permutation(longest)
        one, other = table[:, order[:half]].sum(axis=1), table[:, order[half : 2 * half]].sum(axis=1)
        if one.std() > 0 and other.std() > 0:
            found.append(float(np.corrcoef(_ranks(one), _ranks(other))[0, 1]))
    return fmean(found) if found else None


def _ranks(values: Any) -> Any:
    """Equal values share the mean of their ranks."""
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts - 1) / 2)[inverse]


def _asked(score: Score) -> list[float]:
    """The credits of the items that the draft was scored on."""
    return [credit for credit in score.credits if credit is not None]


def _whole(credits: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Those of the drafts that were scored on the most items."""
    longest = max(map(len, credits), default=0)
    return [one for one in credits if len(one) == longest]


def _dropped(counts: dict[str, Any]) -> dict[str, int]:
    made = ("question_pairs", "rationale_pairs")
    about_pairs = {name: count for name, count in counts.items() if name.startswith(("question_", "rationale_"))}
    return {name: count for name, count in about_pairs.items() if name not in made and isinstance(count, int)}


def teacher(aligned: Teacher) -> dict[str, Any]:
    """How far the teacher was moved: means over the last tenth of the steps, so that one batch does not decide."""
    curve = list(aligned.curve())
    last = curve[-max(1, len(curve) // 10) :]
    found = {
        name: _mean([row[name] for row in last if isinstance(row.get(name), int | float)])
        for name in ("reward_margin", "reward_accuracy", "kl")
    }
    return {"steps": curve[-1]["step"] if curve else 0, **found}


def data(tailored: Tailored, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Per task: what an arm's rows are like."""
    rows = list(tailored.rows())
    found = []
    for task in tasks:
        own = [row for row in rows if row.task == task.name]
        questions = [_words(row.question) for row in own]
        found.append(
            {
                "task": task.name,
                "rows": len(own),
                "agreement": _mean([_agrees(task, row) for row in own]) or 0.0,
                "words": _mean([len(_words(row.rationale)) for row in own]) or 0.0,
                "distinct_pairs": distinct_pairs(questions),
                "overlap": overlap(questions[:_MOST_COMPARED]),
            }
        )
    return found


def _agrees(task: Task, row: TailoredRow) -> float:
    return float(rationales.reaches(task, row.rationale, row.answer))


def distinct_pairs(texts: Sequence[Sequence[str]]) -> float:
    """Different pairs of neighboring words, as a share of all; 0 where there are none."""
    found = [pair for words in texts for pair in pairwise(words)]
    return len(set(found)) / len(found) if found else 0.0


def overlap(texts: Sequence[Sequence[str]]) -> float:
    """Mean Jaccard index of the words of two texts, over all pairs of texts; 0 for fewer than two."""
    sets = [set(words) for words in texts]
    shared = [
        len(one & other) / max(1, len(one | other)) for place, one in enumerate(sets) for other in sets[place + 1 :]
    ]
    return _mean(shared) or 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
