"""Which drafts become rows without a trained teacher."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from edgedistill.artifacts import Draft, Drafts, Preferences, Score, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.stages.choose import choose as stage

choose = stage.function

SCORES = {
    "t/0001/a": 0.2, "t/0001/b": 0.9,
    "t/0002/a": 0.8, "t/0002/b": 0.1,
    "t/0003/a": 0.7, "t/0003/b": 0.3,
    "u/0001/a": 0.4, "u/0001/b": 0.6,
}  # fmt: skip
"""Best of each: b, a, a and b. Means of t: a 0.567, b 0.433; of u: b."""


def made(folder: Path, scores: dict[str, float]) -> tuple[Drafts, Preferences]:
    drafts = [Draft(id, id[0], f"question {id[:6]}", "4", id[-1], f"because {id}") for id in SCORES]
    write_rows(folder / "d" / "drafts.jsonl", map(asdict, drafts))
    write_rows(folder / "p" / "scores.jsonl", [asdict(Score(id, id[0], s, "01")) for id, s in scores.items()])
    return Drafts(folder / "d"), Preferences(folder / "p")


def rationales(tailored: Tailored) -> list[str]:
    return [row.rationale.removeprefix("because ") for row in tailored.rows()]


def test_best_is_the_highest_score_of_each_question(tmp_path):
    chosen = choose(tmp_path / "out", *made(tmp_path, SCORES), "best", 0)
    assert rationales(chosen) == ["t/0001/b", "t/0002/a", "t/0003/a", "u/0001/b"]
    assert [row.id for row in chosen.rows()] == ["t/0001", "t/0002", "t/0003", "u/0001"]
    assert chosen.counts()["tasks"] == {"t": {"a": 2, "b": 1}, "u": {"b": 1}}


def test_one_style_is_the_style_with_the_highest_mean_of_each_task(tmp_path):
    chosen = choose(tmp_path / "out", *made(tmp_path, SCORES), "one-style", 0)
    assert rationales(chosen) == ["t/0001/a", "t/0002/a", "t/0003/a", "u/0001/b"]
    assert chosen.summary == "4 rows: a 3, b 1"


def test_equal_scores_are_decided_by_the_seed_and_not_by_the_name_of_a_style(tmp_path):
    given = made(tmp_path, dict.fromkeys(SCORES, 0.5))
    found = [rationales(choose(tmp_path / f"{seed}", *given, "best", seed)) for seed in range(12)]
    assert {draft[-1] for chosen in found for draft in chosen} == {"a", "b"}
    assert found[0] == rationales(choose(tmp_path / "again", *given, "best", 0))


def test_a_draft_without_a_score_is_not_chosen(tmp_path):
    scores = {id: score for id, score in SCORES.items() if id != "t/0001/b"}
    assert rationales(choose(tmp_path / "out", *made(tmp_path, scores), "best", 0))[0] == "t/0001/a"
    with pytest.raises(StageFailed, match="no draft has a score"):
        choose(tmp_path / "none", *made(tmp_path, {}), "best", 0)
