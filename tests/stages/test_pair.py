"""Scoring and pairing apart are what `prefer` does at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Drafts
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.signals.icl_accuracy import Config
from edgedistill.stages.pair import pair
from edgedistill.stages.prefer import prefer
from edgedistill.stages.rate import rate

RIGHT = {"count to 1": (9, 3), "count to 2": (5, 5), "count to 3": (6, 4)}
"""Exam items, of ten, that the student gets right with the two drafts of a question."""


def student(prompt: str, _: Any) -> str:
    """Right on the items whose number is below what RIGHT says, items being 0 to 23 and the exam ten of them."""
    example, style = prompt.split("Question: ")[1].split("\n", maxsplit=1)[0], int(prompt.split("style ")[1][0])
    item = int(prompt.rsplit("validation question ", maxsplit=1)[1].split("\n", maxsplit=1)[0])
    return f"<ans>{item if item % 10 < RIGHT[example][style] else 'wrong'}</ans>"


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    rows = [
        {"id": f"counting/{n}/{style}", "task": "counting", "question": question, "answer": question[-1],
         "style": style, "rationale": f"style {place} <ans>{question[-1]}</ans>"}
        for n, question in enumerate(RIGHT)
        for place, style in enumerate("ab")
    ]  # fmt: skip
    return Drafts(write_rows(tmp_path / "drafts" / "drafts.jsonl", rows).parent)


@pytest.mark.parametrize("options", [{}, {"ties": "equal"}, {"strength": "smooth"}, {"strength": "drop"}])
def test_the_pairs_are_those_of_prefer_whatever_the_scores_were_made_with(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any, options: Any
) -> None:
    engine = scripted(new_engine(student))
    config = Config(exam_size=20, question_pairs=1, **options)
    whole = prefer.function(tmp_path / "whole", drafts, model, [counting_task], config, 1)
    rated = rate.function(tmp_path / "rated", drafts, model, [counting_task], Config(exam_size=20), 1)
    asked = len(engine.calls)
    (tmp_path / "paired").mkdir()
    paired = pair.function(tmp_path / "paired", drafts, rated, [counting_task], config, 1)
    assert list(rated.pairs()) == [] and len(list(rated.scores())) == 6
    assert list(paired.pairs()) == list(whole.pairs()) and list(paired.scores()) == list(whole.scores())
    assert paired.counts()["tasks"] == whole.counts()["tasks"]
    assert len(engine.calls) == asked, "nothing is asked again"


def test_another_way_of_pairing_is_no_reason_to_score_again() -> None:
    """What `rate` is named by in the store."""
    pairing = {"question_pairs": 3, "min_gap": 0.3, "ties": "equal", "strength": "drop"}
    assert Config(**pairing).scoring.identity() == Config().scoring.identity()  # type: ignore[arg-type]
    assert Config(**pairing).identity() != Config().identity()  # type: ignore[arg-type]
    assert Config(exam_size=20).scoring.identity() != Config().scoring.identity()


def test_scores_without_a_pair_fail_the_stage(
    tmp_path: Path, drafts: Drafts, counting_task: Any, model: Any, scripted: Any, new_engine: Any
) -> None:
    scripted(new_engine(lambda prompt, random: "no answer"))
    rated = rate.function(tmp_path / "rated", drafts, model, [counting_task], Config(exam_size=20), 1)
    with pytest.raises(StageFailed, match="pair: no pair is left"):
        pair.function(tmp_path / "paired", drafts, rated, [counting_task], Config(exam_size=20, ties="equal"), 1)
