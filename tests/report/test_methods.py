"""What the report of a contest says, in its four forms."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from click import unstyle

from edgedistill.errors import UsageError
from edgedistill.report.methods import assemble, html, markdown, picture, terminal, words
from edgedistill.report.methods.schema import MethodsReport


def difference(table: str, arm: str, against: str, items: str, value: float, half: float) -> dict[str, Any]:
    low, high = value - half, value + half
    verdict = "better" if low > 0 else "worse" if high < 0 else "unclear"
    return {"table": table, "arm": arm, "against": against, "items": items, "n": 300, "difference": value,
            "ci_low": low, "ci_high": high, "by_run": [value, value], "verdict": verdict}  # fmt: skip


def report(**changes: Any) -> MethodsReport:
    """`pad-ppd` loses 0.05 on the test items, unclear on the others; `equal` gains 0.04; `drop` cannot be told."""
    arms = {"methods": ("sft", "pad-ppd"), "pairs": ("plain", "equal", "drop")}
    both = ("test items", "real <words>")
    results = [
        {"table": table, "arm": arm, "items": items, "n": 300, "accuracy": 0.4, "ci_low": 0.35, "ci_high": 0.45,
         "format_rate": 0.99, "by_run": [0.39, 0.41]}
        for table, own in arms.items() for items in both for arm in own
    ]  # fmt: skip
    differences = [
        difference("methods", "pad-ppd", "sft", both[0], -0.05, 0.02),
        difference("methods", "pad-ppd", "sft", both[1], 0.01, 0.02),
        difference("pairs", "equal", "plain", both[0], 0.04, 0.01),
        difference("pairs", "drop", "plain", both[0], 0.01, 0.03),
    ]
    costs = [
        {"table": table, "arm": arm, "student_tokens": 123456, "runs": 2, "seconds": 61.5, "cpu_seconds": 100.0,
         "peak_mib": None if arm == "drop" else 900.0}
        for table, own in arms.items() for arm in own
    ]  # fmt: skip
    known = {"spearman": 0.41, "ci_low": 0.2, "ci_high": 0.6, "by_run": [0.4, 0.42]}
    unknown = {"spearman": None, "ci_low": None, "ci_high": None, "by_run": [None, None]}
    content = {
        "recipe": "quickstart", "title": "words", "build_id": "b", "started": "2026-11-21T10:15:00+00:00",
        "seconds": 3600.0, "seeds": [0, 1], "items": dict.fromkeys(both, 300), "teacher": "t", "student": "s",
        "results": results, "differences": differences, "costs": costs,
        "agreement": [{"signal": "icl_accuracy", "other": "influence", "drafts": 160, **known}],
        "prediction": [{"signal": "icl_accuracy", "figure": "accuracy", "groups": 20, **known},
                       {"signal": "influence", "figure": "accuracy", "groups": 20, **unknown}],
        **changes,
    }  # fmt: skip
    made = MethodsReport.model_validate(content)
    return made.model_copy(update={"answer": tuple(words.answer(made))})


def test_the_answer_says_what_is_clear_whichever_way_it_went() -> None:
    said = report().answer
    assert said[0] == "Methods against sft, test items: worse: pad-ppd -0.050."
    assert said[1] == "Methods against sft, real <words>: unclear: pad-ppd +0.010."
    assert said[2] == "Pairs against plain, test items: better: equal +0.040; unclear: drop +0.010."
    assert said[3].endswith("gained in right answers: icl_accuracy +0.410 (+0.200 to +0.600).")


def test_differences_from_other_arms_than_the_first_have_a_table_of_their_own() -> None:
    """`pad-ppd` is to be better than `dpo`, and its difference from `sft` stays the one of the main table."""
    extra = difference("methods", "pad-ppd", "dpo", "test items", 0.03, 0.01)
    made = report(differences=[extra, *(line.model_dump() for line in report().differences)])
    assert made.difference("methods", "pad-ppd", "test items").difference == -0.05  # type: ignore[union-attr]
    shown = ("pad-ppd", "dpo", "test items", "+0.030 (+0.020 to +0.040) better")
    assert words.further_rows(made, "methods") == [shown]
    assert words.further_rows(made, "pairs") == []
    assert "Test items, further: pad-ppd minus dpo +0.030 (+0.020 to +0.040) better." in made.answer
    for text in (unstyle("\n".join(terminal.page(made))), markdown.page(made), html.page(made)):
        assert "+0.030 (+0.020 to +0.040) better" in text


def test_tokens_beyond_five_percent_what_was_left_out_and_failures_are_told() -> None:
    """`pad-ppd` read 1.31 times the tokens of `sft`; ways of pairing may differ, they get the same rows."""
    costs = [line.model_dump() for line in report().costs]
    for line in costs:
        line["token_ratio"] = {"sft": 1.0, "plain": 1.0}.get(line["arm"], 1.31)
        line["left_out"] = {"too_alike": 12.4, "too_long": 3.0} if line["arm"] == "pad-ppd" else {}
    failed = {"table": "methods", "arm": "sft+pad", "seed": 1, "reason": "distill: no responses"}
    made = report(costs=costs, failures=[failed])
    assert "The student read another amount, times that of sft: pad-ppd 1.31." in made.answer
    assert made.answer[-1] == "Failed, seed 1: sft+pad: distill: no responses"
    rows = {row[0]: row for row in words.result_rows(made, "methods")}
    assert "1.31 uneven" in rows["pad-ppd"] and "12 responses too alike, 3 too long" in rows["pad-ppd"]
    assert "1.00" in rows["sft"]
    assert all("uneven" not in cell for row in words.result_rows(made, "pairs") for cell in row)


def test_the_headline_counts() -> None:
    assert words.headline(report()) == (
        "quickstart: 2 methods, 3 ways of pairing, 2 runs, 300 test items, 300 real <words>"
    )


def test_each_form_has_every_arm_its_change_and_its_cost() -> None:
    made = report()
    shown = (unstyle("\n".join(terminal.page(made))), markdown.page(made), html.page(made))
    for text in shown:
        for wanted in ("pad-ppd", "-0.050 (-0.070 to -0.030) worse", "123,456", "61.5", "900", "+0.410 (+0.200"):
            assert wanted in text
        assert "minus sft (95%)" in text and "minus plain (95%)" in text


def test_names_from_outside_are_escaped_and_the_pictures_are_svg() -> None:
    page = html.page(report())
    assert "<words>" not in page and "real &lt;words&gt;" in page
    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(found) == 4
    assert all(ElementTree.fromstring(one).tag == "svg" for one in found)
    assert 'class="worse"' in picture.accuracies(report(), "methods", "test items")


def test_a_saved_report_is_read_back_and_another_schema_is_refused(tmp_path: Any) -> None:
    made = report()
    left = assemble.save(made, tmp_path / "report")
    assert assemble.is_one(left["json"]) and assemble.load(left["json"]) == made
    left["json"].write_text('{"schema": "edgedistill.methods/9"}')
    with pytest.raises(UsageError, match=r"not a report of schema edgedistill\.methods/1"):
        assemble.load(left["json"])
