"""Several teachers: who has its turn, and how often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgedistill import tutors
from edgedistill.files import read_rows, write_rows
from edgedistill.learning import TutoredConfig
from edgedistill.models import Model
from edgedistill.task import Task, load
from edgedistill.tutors import Staff, Tutor, by_rank, draw, weighed

A, B, C = (Tutor(Model(Path(name), name, name=name), weight) for name, weight in (("a", 1.0), ("b", 3.0), ("c", 4.0)))


def no_pilot(folder: Path, tutor: Tutor) -> Model:
    raise AssertionError("no pilot run is needed")


def test_turns_are_drawn_in_proportion_to_the_weights_and_from_the_seed_alone() -> None:
    drawn = draw([A, B, C], 8000, 5)
    counts = Counter(drawn)
    for number, share in enumerate((1 / 8, 3 / 8, 4 / 8)):
        assert counts[number] / 8000 == pytest.approx(share, abs=0.02)
    assert draw([A, B, C], 8000, 5) == drawn != draw([A, B, C], 8000, 6)


def test_ranks_weigh_in_proportion_and_equals_share() -> None:
    assert by_rank([0.2, 0.9, 0.5]) == [1, 3, 2]
    assert by_rank([0.5, 0.5, 0.1]) == [2.5, 2.5, 1]
    assert by_rank([0.3, 0.3]) == [1.5, 1.5]


def test_given_and_uniform_weights(tmp_path: Path) -> None:
    given = weighed(tmp_path, [A, B], [], TutoredConfig(), 0, no_pilot)
    assert [one.weight for one in given] == [1.0, 3.0]
    assert list(read_rows(tmp_path / "tutors.jsonl")) == [
        {"teacher": "a", "weight": 0.25},
        {"teacher": "b", "weight": 0.75},
    ]
    alike = weighed(tmp_path, [A, B], [], TutoredConfig(weights="uniform"), 0, no_pilot)
    assert [one.weight for one in alike] == [1.0, 1.0]


def test_one_tutor_needs_no_weight(tmp_path: Path) -> None:
    assert weighed(tmp_path, [B], [], TutoredConfig(weights="student-rank"), 0, no_pilot) == [B]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def task(tmp_path: Path) -> Task:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: d\nlicence: Apache-2.0\n")
    for part in ("seeds", "validation", "test"):
        rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": str(n)} for n in range(8)]
        write_rows(folder / f"{part}.jsonl", rows)
    return load(folder)


class Knows:
    """An engine that answers `known` of the questions right. It proves how answers are counted."""

    def __init__(self, known: int) -> None:
        self.known = known

    def generate(self, conversations: list[list[dict[str, str]]], **_: object) -> list[str]:
        numbers = [int(messages[0]["content"].split("validation ")[1].split("\n")[0]) for messages in conversations]
        return [f"so <ans>{n if n < self.known else 'x'}</ans>" for n in numbers]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("weights", ["teacher-rank", "student-rank"])
def test_ranks_are_by_right_answers_of_the_teacher_or_of_a_student_that_it_taught(
    weights: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"a": 6, "b": 2, "c": 4, "student of a": 1, "student of b": 5, "student of c": 3}
    monkeypatch.setattr(tutors, "open_engine", lambda model, answered: Knows(right[model.key]))
    taught: list[str] = []

    def pilot(folder: Path, tutor: Tutor) -> Model:
        taught.append(tutor.model.key)
        return Model(folder, f"student of {tutor.model.key}")

    config = TutoredConfig(weights=weights, pilot_items=8)
    for _ in range(2):  # what a killed run found out is not found out again
        found = weighed(tmp_path, [A, B, C], [task], config, 0, pilot)
    if weights == "teacher-rank":
        assert [one.weight for one in found] == [3, 1, 2]
        assert taught == []
    else:
        assert [one.weight for one in found] == [1, 3, 2]
        assert taught == ["a", "b", "c"]
    scores = [row["score"] for row in read_rows(tmp_path / "tutors.jsonl")]
    assert scores == ([0.75, 0.25, 0.5] if weights == "teacher-rank" else [0.125, 0.625, 0.375])


def test_of_the_staff_no_more_are_open_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three: who was asked longest ago goes, and all go at the end. A server's answers go when all went well."""
    told: list[str] = []

    class Told:
        def __init__(self, name: str) -> None:
            self.name = name
            told.append(f"open {name}")

        def close(self) -> None:
            told.append(f"close {self.name}")

    monkeypatch.setattr(tutors, "open_engine", lambda model, answered: Told(model.key))
    kept = tmp_path / "answered-1.jsonl"
    with Staff([A.model, B.model, C.model], tmp_path, 2) as staff:
        kept.write_text("{}")
        assert staff.engine(0) is staff.engine(0)
        staff.engine(1)
        staff.engine(0)
        staff.engine(2)
        staff.engine(1)
    assert told == ["open a", "open b", "close b", "open c", "close a", "open b", "close b", "close c"]
    assert not kept.exists()
    with pytest.raises(KeyboardInterrupt), Staff([A.model], tmp_path):
        (tmp_path / "answered-0.jsonl").write_text("{}")
        raise KeyboardInterrupt
    assert (tmp_path / "answered-0.jsonl").exists()
