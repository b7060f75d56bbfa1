"""What the report of a comparison says, in its four forms."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from click import unstyle

from edgedistill.errors import UsageError
from edgedistill.report import on_disk
from edgedistill.report.arms import assemble, html, markdown, picture, terminal, words
from edgedistill.report.arms.schema import ArmsReport

SCOPES = ("navigate", "web_of_lies", "mean of tasks", "pooled")


def difference(arm: str, against: str, shots: int, scope: str, value: float, half: float) -> dict[str, Any]:
    low, high = value - half, value + half
    verdict = "better" if low > 0 else "worse" if high < 0 else "unclear"
    paper = {0: 0.0441, 3: 0.034}[shots] if arm == "arte" and against == "original" and "tasks" in scope else None
    return {"arm": arm, "against": against, "shots": shots, "scope": scope, "n": 500, "difference": value,
            "ci_low": low, "ci_high": high, "by_run": [value - 0.01, value + 0.01], "verdict": verdict,
            "paper": paper}  # fmt: skip


def report(effect: float = 0.06, reliability: float | None = 0.7, **changes: Any) -> ArmsReport:
    """Two tasks, zero- and three-shot; `arte` gains `effect` zero-shot and loses it three-shot."""
    arms = ("none", "original", "one-style", "arte")
    results, differences = [], []
    for shots in (0, 3):
        gain = effect if shots == 0 else -effect
        for scope in SCOPES:
            for arm in arms:
                value = 0.3 + (gain if arm == "arte" else 0)
                results.append({"arm": arm, "shots": shots, "scope": scope, "n": 500, "accuracy": value,
                                "ci_low": value - 0.04, "ci_high": value + 0.04, "format_rate": 0.95,
                                "by_run": [value - 0.01, value + 0.01]})  # fmt: skip
                for against in ("original", "one-style"):
                    if arm != against:
                        differences.append(difference(arm, against, shots, scope, gain if arm == "arte" else 0.0, 0.03))
    made: dict[str, Any] = {
        "recipe": "bbh-mini", "title": "five <families>", "build_id": "20261121-101500-bbh-mini-arms",
        "started": "2026-11-21T10:15:00+00:00", "seconds": 2400.0, "seeds": [0, 1], "shots": [0, 3],
        "tasks": {"navigate": 250, "web_of_lies": 250}, "teacher": "models/teacher", "student": "models/student",
        "results": results, "differences": differences,
        "data": [{"arm": "arte", "task": "navigate", "rows": 60, "agreement": 0.8, "words": 31.5,
                  "distinct_pairs": 0.4, "overlap": 0.6}],
        "signal": [{"task": task, "drafts": 240, "exam": 20, "mean_score": 0.5, "sd_score": 0.1,
                    "compared": 200, "reliability": reliability,
                    "question_pairs": 15, "question_gap": 0.3, "rationale_pairs": 20.5,
                    "rationale_gap": 0.2, "dropped": {"rationale_tie": 12}} for task in ("navigate", "web_of_lies")],
        "aligned": [{"seed": 0, "steps": 9, "reward_margin": 0.4, "reward_accuracy": 0.7, "kl": 0.031},
                    {"seed": 1, "steps": 9, "reward_margin": 0.5, "reward_accuracy": 0.8, "kl": None}],
        "stages": [{"name": "elicit", "key": "ab" * 16, "status": "ran", "seconds": 61.0, "summary": "240 drafts"}],
    }  # fmt: skip
    found = ArmsReport.model_validate({**made, **changes})
    return found.model_copy(update={"answer": tuple(words.answer(found))})


def page(given: ArmsReport) -> str:
    return unstyle("\n".join(terminal.page(given)))


def test_the_answer_comes_first_and_says_both_ways():
    lines = page(report()).splitlines()
    assert lines[0] == "bbh-mini: 4 arms, 2 runs, 2 tasks, 500 test items, 60 training rows per task"
    assert lines[1].strip() == (
        "Zero-shot, alignment helped: arte minus original is +0.060 "
        "(95% +0.030 to +0.090; above 0 in 2 of 2 runs; the paper's is +0.044)."
    )
    text = " ".join(lines)
    assert "Three-shot, alignment hurt: arte minus original is -0.060" in text
    assert "Three-shot, arte loses to one-style, which trains no teacher: -0.060" in text
    assert "Zero-shot by task, arte minus original: better: navigate +0.060, web_of_lies +0.060." in text


def test_a_difference_within_its_interval_is_called_unclear():
    text = page(report(effect=0.01))
    assert "Zero-shot, alignment made no clear difference: arte minus original is +0.010" in text
    assert "arte is not clearly apart from one-style" in text
    assert "+0.010 (-0.020 to +0.040) unclear" in text


@pytest.mark.parametrize(("reliability", "says"), [
    (0.7, "The exam's halves agree on the drafts: reliability 0.5 or more in every task."),
    (0.21, "below 0.5: navigate 0.21, web_of_lies 0.21; from 200 drafts per run, scored on the"),
    (None, "Whether the exam's halves agree on the drafts is not known for navigate, web_of_lies."),
])  # fmt: skip
def test_scores_that_are_chance_are_said_to_be(reliability, says):
    assert says in page(report(reliability=reliability))


def test_the_teachers_way_is_told_and_a_missing_kl_is_a_dash():
    assert "Alignment saw 71 pairs per run; at the end of each run the aligned teacher's KL from the original was" in (
        page(report())
    )
    assert "was 0.031, -, its reward margin 0.400, 0.500, its reward accuracy 0.70, 0.80" in page(report())


def test_right_answers_and_diversity_of_the_data_are_told():
    assert "and of different word pairs in the questions: arte 0.80 and 0.40." in page(report())


def test_format_stands_beside_accuracy_and_the_paper_beside_ours():
    row = next(line for line in page(report()).splitlines() if line.startswith("  arte "))
    assert row.split()[1:6] == ["0.360", "(0.320", "to", "0.400)", "0.950"]
    assert "+0.044" in row


def test_json_keeps_every_line_under_the_names_of_the_schema():
    made = on_disk.as_json(report())
    assert made["schema"] == "edgedistill.arms/1"
    assert ArmsReport.model_validate(json.loads(json.dumps(made))) == report()


def test_report_prints_a_comparison_again(tmp_path):
    assemble.save(report(), tmp_path / "report")
    assert assemble.is_one(tmp_path / "report.json")
    assert page(assemble.load(tmp_path / "report.json")) == page(report())
    (tmp_path / "report.json").write_text('{"schema": "edgedistill.arms/2"}')
    with pytest.raises(UsageError, match=r"is not a report of schema edgedistill\.arms/1"):
        assemble.load(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("{")
    assert not assemble.is_one(tmp_path / "report.json")


def test_arms_that_were_not_run_leave_no_figures():
    full = report()
    few = [line for line in full.results if line.arm == "none"]
    alone = full.model_copy(update={"results": tuple(few), "differences": ()})
    alone = alone.model_copy(update={"answer": tuple(words.answer(alone))})
    assert "alignment helped" not in page(alone)
    assert "alignment" not in " ".join(line for line in alone.answer if "arte" in line)
    assert html.page(alone) and markdown.page(alone)


def test_html_is_one_escaped_file_without_anything_from_outside():
    text = html.page(report())
    assert "five &lt;families&gt;" in text
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\(|<script""", text)
    assert text.count("<svg") == 6  # accuracies, and two differences, at 0 and 3 shots
    assert "prefers-color-scheme: dark" in text


def test_pictures_are_well_formed_and_their_values_within():
    for drawn in (picture.accuracies(report(), 0), picture.differences(report(), 3, "original")):
        root = ElementTree.fromstring(drawn)
        width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
        for circle in root.iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width and 0 <= float(circle.attrib["cy"]) <= height
    assert "worse" in picture.differences(report(), 3, "original")
    assert 'class="paper"' in picture.differences(report(), 0, "original")
    assert picture.differences(report(), 0, "rationale-only") == ""


def test_markdown_has_a_table_for_each_number_of_shots():
    text = markdown.page(report())
    assert "## Zero-shot" in text and "## Three-shot" in text
    assert "| arte | 0.360 (0.320 to 0.400) | 0.950 | +0.060 (+0.030 to +0.090) better | +0.044 |" in text
    assert "| navigate | 240 | 20 |" in text
