"""The teacher's training curve in the report."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from edgedistill.report import alignment, assemble, html, markdown, on_disk, words
from edgedistill.report.schema import Report


def curve(steps: int) -> list[dict[str, Any]]:
    """Rows as `align` leaves them: margin and KL rise from 0, two of three pairs are right."""
    return [
        {
            "step": step,
            "loss": 0.7 - 0.1 * (step - 1),
            "learning_rate": 1e-5,
            "reward_margin": 0.5 * (step - 1),
            "reward_accuracy": 2 / 3,
            "kl": 0.01 * (step - 1),
        }
        for step in range(1, steps + 1)
    ]


def report(steps: int) -> Report:
    return assemble.assemble(
        recipe="r",
        target="t",
        build_id="b",
        started=datetime(2026, 11, 21, tzinfo=UTC),
        seconds=1,
        steps=[],
        measured={},
        bundle=None,
        alignment=alignment.read(curve(steps)),
    )


def paths(svg: str) -> list[list[tuple[float, float]]]:
    """The points of each curve, by an XML parser."""
    drawn = [path.attrib["d"] for path in ElementTree.fromstring(svg).iter("path")]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", line)] for line in drawn]


def test_a_short_training_is_kept_step_by_step() -> None:
    found = alignment.read(curve(3))
    assert found is not None
    assert found.steps == 3
    assert [point.step for point in found.curve] == [1, 2, 3]
    assert [point.reward_margin for point in found.curve] == [0, 0.5, 1.0]


def test_a_long_training_is_told_in_means() -> None:
    """250 steps in parts of 3: margins 0, 0.5 and 1 have mean 0.5; the last part is step 250 alone."""
    found = alignment.read(curve(250))
    assert found is not None
    assert found.steps == 250
    assert len(found.curve) == 84
    assert (found.curve[0].step, found.curve[0].reward_margin) == (3, pytest.approx(0.5))
    assert (found.curve[-1].step, found.curve[-1].reward_margin) == (250, pytest.approx(124.5))


def test_no_training_has_no_curve() -> None:
    assert alignment.read([]) is None
    assert alignment.picture(None) == ""


def test_picture_has_margin_accuracy_and_kl_over_the_steps() -> None:
    drawn = alignment.picture(alignment.read(curve(5)))
    margin, accuracy, kl = paths(drawn)
    assert len(margin) == len(accuracy) == len(kl) == 5
    for rising in (margin, kl):
        assert rising[0][1] - rising[1][1] == pytest.approx((rising[0][1] - rising[4][1]) / 4, abs=0.2)
        assert rising[4][1] < rising[0][1]  # up is less
    assert len({y for _, y in accuracy}) == 1
    bottom, top = margin[0][1], margin[4][1]
    assert (bottom - accuracy[0][1]) / (bottom - top) == pytest.approx(2 / 3, abs=0.01)
    assert margin[4][0] < accuracy[0][0] < accuracy[4][0] < kl[0][0]


def test_a_single_step_and_a_flat_curve_are_drawn_too() -> None:
    found = alignment.read([{**curve(1)[0], "reward_margin": 0.0, "kl": 0.0}])
    assert len(paths(alignment.picture(found))) == 3


def test_a_margin_below_zero_stays_in_the_picture() -> None:
    rows = [{**row, "reward_margin": -row["reward_margin"]} for row in curve(4)]
    margin = paths(alignment.picture(alignment.read(rows)))[0]
    assert margin[3][1] > margin[0][1]
    assert all(0 < y < 210 for _, y in margin)


def test_every_form_of_the_report_tells_it() -> None:
    made = report(9)
    assert "0.08 nats per token" in words.alignment(made.alignment)  # 0.01 times 8
    lines = markdown.page(made, {}).splitlines()
    assert "| 9 | -0.100 | 4.000 | 0.667 | 0.0800 |" in lines
    assert "| 1 | 0.700 | 0.000 | 0.667 | 0.0000 |" in lines
    assert len([line for line in lines if re.match(r"\| \d", line)]) == 5
    page = html.page(made, {})
    assert "How the teacher was aligned" in page
    assert page.count('class="curve"') == 3
    as_json = on_disk.as_json(made)["alignment"]
    assert as_json["steps"] == 9
    assert set(as_json["curve"][0]) == {"step", "loss", "reward_margin", "reward_accuracy", "kl"}
