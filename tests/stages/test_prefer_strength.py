"""What becomes of ties and of unsure gaps, with expected pairs by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Drafts, Pair
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.signals.icl_accuracy import Config
from edgedistill.stages.prefer import prefer as stage

ITEMS = 24
# Which of the 24 exam items the student gets right with the two drafts of a question.
WORTH = {
    "count to 1": ("1" * 24, "1" * 4 + "0" * 20),  # gap 20 / 24, beyond doubt
    "count to 2": ("110000" * 4, "101000" * 4),  # equal scores, on other items
    "count to 3": ("1" * 9 + "0" * 15, "0" * 8 + "1" * 8 + "0" * 8),  # gap 1 / 24: nine gained and eight lost
    "count to 4": ("1" * 12 + "0" * 12, "0" * 12 + "1" * 8 + "0" * 4),  # gap 4 / 24, as wide as its deviation
}


@pytest.fixture
def run(tmp_path: Path, counting_task: Any, model: Any, scripted: Any, new_engine: Any) -> Any:
    """(options) -> what `prefer` makes of the drafts above, question pairs left out."""
    rows = [
        {"id": f"counting/{number}/{style}", "task": "counting", "question": question, "answer": question[-1],
         "style": style, "rationale": f"style {place} <ans>{question[-1]}</ans>"}
        for number, question in enumerate(WORTH)
        for place, style in enumerate("ab")
    ]  # fmt: skip
    drafts = Drafts(write_rows(tmp_path / "drafts" / "drafts.jsonl", rows).parent)

    def prefer(**options: Any) -> Any:
        scripted(new_engine(_student()))
        config = Config(exam_size=ITEMS, question_pairs=0, **options)
        return stage.function(
            tmp_path / f"out-{len(list(tmp_path.iterdir()))}", drafts, model, [counting_task], config, 1
        )

    return prefer


def _student() -> Any:
    asked: dict[str, int] = {}

    def answer(prompt: str, _: Any) -> str:
        example = prompt.split("Question: ")[1].split("\n", maxsplit=1)[0]
        style = int(prompt.split("style ")[1][0])
        place = asked.get(f"{example} {style}", 0)
        asked[f"{example} {style}"] = place + 1
        item = prompt.rsplit("validation question ", maxsplit=1)[-1].split("\n", maxsplit=1)[0]
        return f"<ans>{item if WORTH[example][style][place] == '1' else 'wrong'}</ans>"

    return answer


def kinds(preferences: Any) -> list[tuple[str, str]]:
    return [(pair.prompt.split("count to ")[1][0], pair.label) for pair in preferences.pairs()]


def test_plain_pairs_say_how_sure_they_are(run: Any) -> None:
    """Gap 20/24, each of 24 items gains or not: sqrt(p (1 - p) / 24) = 0.076. No resample turns it."""
    preferences = run(min_gap=0.1)
    assert kinds(preferences) == [("1", "preferred"), ("4", "preferred")]
    sure, unsure = preferences.pairs()
    assert sure.spread == pytest.approx((20 / 24 * 4 / 24 / 24) ** 0.5, rel=0.05)
    assert (sure.doubt, sure.strength) == (0.0, "ignore")
    assert unsure.doubt == pytest.approx(0.18, abs=0.06)
    assert preferences.counts()["tasks"]["counting"] == {
        "rationale_pairs": 2, "rationale_tie": 1, "rationale_gap_too_small": 1,
    }  # fmt: skip


def test_what_resampled_exams_cannot_tell_apart_becomes_an_equal_pair(run: Any) -> None:
    """A tie is what has 0 in its interval, however large the gap: 4/24 with a deviation of 0.18 is one too."""
    preferences = run(min_gap=0.1, ties="equal")
    assert kinds(preferences) == [("1", "preferred"), ("2", "equal"), ("3", "equal"), ("4", "equal")]
    counts = preferences.counts()["tasks"]["counting"]
    assert counts == {"rationale_pairs": 1, "equal_rationale_pairs": 3}


def test_a_small_gap_that_is_certain_is_no_tie(run: Any) -> None:
    """With 0.9 asked for, 20/24 is too small a gap; that the two are equal is out of the question. No pair is left."""
    with pytest.raises(StageFailed, match=r"'rationale_gap_too_small': 1, 'equal_rationale_pairs': 3"):
        run(min_gap=0.9, ties="equal")


def test_gaps_within_their_own_deviation_can_be_dropped(run: Any) -> None:
    """4/24 = 0.17 with sqrt(20/24 - 0.028) / sqrt(24) = 0.18."""
    preferences = run(min_gap=0.1, strength="drop")
    assert kinds(preferences) == [("1", "preferred")]
    assert preferences.counts()["tasks"]["counting"]["rationale_gap_too_weak"] == 1


@pytest.mark.parametrize("strength", ["margin", "smooth"])
def test_pairs_carry_what_dpo_is_to_make_of_them(run: Any, strength: str) -> None:
    pairs: list[Pair] = list(run(min_gap=0.1, strength=strength).pairs())
    assert [pair.strength for pair in pairs] == [strength] * 2
    assert [pair.margin for pair in pairs] == pytest.approx([20 / 24, 4 / 24])
