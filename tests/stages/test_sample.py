"""How arms get the same number of rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgedistill.artifacts import Tailored, TailoredRow
from edgedistill.files import write_rows
from edgedistill.stages.sample import sample as stage

sample = stage.function


def made(folder: Path, name: str, **counts: int) -> Tailored:
    """Rows of an arm that answers the same questions as the others, in its own words."""
    rows = [
        TailoredRow(f"{task}/{n:04}", task, f"{task} question {n}", "1", f"{name} says")
        for task, count in counts.items()
        for n in range(count)
    ]
    write_rows(folder / name / "rows.jsonl", map(asdict, rows))
    return Tailored(folder / name)


def ids(tailored: Tailored) -> list[str]:
    return [row.id for row in tailored.rows()]


def test_each_task_has_as_many_rows_as_the_arm_with_the_fewest(tmp_path):
    arms = [made(tmp_path, "one", t=9, u=4), made(tmp_path, "other", t=6, u=7)]
    for arm in arms:
        found = sample(tmp_path / f"{arm.path.name}-even", arm, arms, None, 0)
        assert [id[0] for id in ids(found)] == ["t"] * 6 + ["u"] * 4
        assert ids(found) == sorted(ids(found))
    counts = sample(tmp_path / "again", arms[0], arms, None, 0).counts()
    assert counts["tasks"] == {"t": {"rows": 6, "left_out": 3}, "u": {"rows": 4, "left_out": 0}}
    assert counts["summary"] == "10 of 13 rows"


def test_arms_with_the_same_questions_keep_the_same_ones(tmp_path):
    arms = [made(tmp_path, "one", t=40), made(tmp_path, "other", t=40)]
    one, other = (ids(sample(tmp_path / f"{arm.path.name}-even", arm, arms, 12, 5)) for arm in arms)
    assert one == other
    assert len(one) == 12
    assert one != ids(sample(tmp_path / "seed", arms[0], arms, 12, 6))


def test_a_task_that_another_arm_lacks_has_no_row(tmp_path):
    arms = [made(tmp_path, "one", t=3, u=3), made(tmp_path, "other", t=3)]
    assert ids(sample(tmp_path / "even", arms[0], arms, None, 0)) == ["t/0000", "t/0001", "t/0002"]
