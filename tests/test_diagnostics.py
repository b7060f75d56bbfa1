"""What the diagnostics of a comparison count, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from edgedistill import diagnostics
from edgedistill.artifacts import Preferences, Tailored, Teacher
from edgedistill.files import write_json, write_rows
from edgedistill.task import Task, TaskInfo

TASK = Task("t", Path("nowhere"), TaskInfo(kind="tagged_answer", title="t", description="t", licence="none"))


def test_drafts_that_differ_in_all_items_alike_are_reliable():
    """Of 20 drafts number n is right on the first n of 20 items twice over: any half orders them nearly the same."""
    hits = [[1.0] * n + [0.0] * (20 - n) for n in range(21)]
    assert diagnostics.reliability(hits) > 0.9


def test_coins_are_not_reliable():
    random = Random(1)
    hits = [[float(random.random() < 0.5) for _ in range(40)] for _ in range(200)]
    assert abs(diagnostics.reliability(hits)) < 0.15


@pytest.mark.parametrize("hits", [[], [[0, 1], [1, 0]], [[0] * 4] * 5, [[1]] * 5])
def test_reliability_that_cannot_be_known_is_none(hits):
    assert diagnostics.reliability(hits) is None


def test_drafts_that_raced_on_fewer_items_are_left_out():
    full = [[1.0] * n + [0.0] * (20 - n) for n in range(21)]
    assert diagnostics.reliability([*full, [0.0], [1.0, 0.0], [1.0] * 3]) == diagnostics.reliability(full)


def test_distinct_pairs_and_overlap_by_hand():
    """`a b`, `b c`, `a b` again: 2 of 3. Words {a, b, c} and {a, b} share 2 of 3."""
    texts = [["a", "b", "c"], ["a", "b"]]
    assert diagnostics.distinct_pairs(texts) == pytest.approx(2 / 3)
    assert diagnostics.overlap(texts) == pytest.approx(2 / 3)
    assert (diagnostics.distinct_pairs([]), diagnostics.overlap([["a"]])) == (0.0, 0.0)


def test_data_tells_how_often_a_rationale_reaches_its_target(tmp_path):
    rows = [
        {
            "id": f"t/{n}",
            "task": "t",
            "question": f"how many {n}",
            "answer": "4",
            "rationale": f"it is <ans>{given}</ans>",
        }
        for n, given in enumerate(("4", "5", "4", "4"))
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    (found,) = diagnostics.data(Tailored(tmp_path), [TASK])
    assert (found["rows"], found["agreement"]) == (4, 0.75)
    assert found["words"] == 5  # it is ans 4 ans


def test_signal_tells_scores_pairs_gaps_and_why_pairs_were_dropped(tmp_path):
    scores = [{"draft_id": f"t/{n}", "task": "t", "score": n / 4, "hits": "1" * n + "0" * (4 - n)} for n in range(5)]
    pair = {"task": "t", "prompt": "", "chosen": "", "rejected": ""}
    write_rows(tmp_path / "scores.jsonl", scores)
    levels = [("question", 0.5), ("question", 0.3), ("rationale", 0.25)]
    write_rows(tmp_path / "pairs.jsonl", [{**pair, "level": level, "margin": margin} for level, margin in levels])
    counts = {"question_pairs": 2, "rationale_pairs": 1, "rationale_tie": 7, "exam_items": 4}
    write_json(tmp_path / "counts.json", {"tasks": {"t": counts}})
    (found,) = diagnostics.signal(Preferences(tmp_path), [TASK])
    assert (found["drafts"], found["exam"], found["mean_score"]) == (5, 4, 0.5)
    assert found["sd_score"] == pytest.approx(0.125**0.5)
    assert (found["question_pairs"], found["question_gap"]) == (2, pytest.approx(0.4))
    assert (found["rationale_pairs"], found["rationale_gap"], found["dropped"]) == (1, 0.25, {"rationale_tie": 7})


@pytest.mark.parametrize("has_kl", [True, False])
def test_the_end_of_the_curve_tells_how_far_the_teacher_moved(tmp_path, has_kl):
    curve = [{"step": n + 1, "loss": 0.7, "reward_margin": n / 10, "kl": n / 100} for n in range(20)]
    rows = [row if has_kl else {key: value for key, value in row.items() if key != "kl"} for row in curve]
    (tmp_path / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = diagnostics.teacher(Teacher(tmp_path))
    assert (found["steps"], found["reward_margin"]) == (20, pytest.approx(1.85))
    assert found["kl"] == (pytest.approx(0.185) if has_kl else None)
    assert found["reward_accuracy"] is None
