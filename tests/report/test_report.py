"""The report of a build made up by hand: what it says, and that it says it everywhere."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from click import unstyle
from pydantic import ValidationError

from edgedistill.report import assemble, html, labels, markdown, on_disk, pareto, terminal, words
from edgedistill.report.schema import BudgetLine, BundleLine, Report
from edgedistill.store import Step

STEPS = [
    Step("elicit", "cf7975c0" * 4, "cached", 0.001, 5000, "5,000 drafts"),
    Step("prefer", "9b1e02aa" * 4, "ran", 4320.4, 1840, "1,840 pairs from 5,000 drafts"),
]
KEYS = """recipe target build_id started seconds exit_code stages alignment student candidates budgets benchmark
    elsewhere bundle schema"""
LINEAGE = {"teacher": "org/large@abc, apache-2.0"}


def candidate(quant: str, mib: float, accuracy: float, **changes: Any) -> dict[str, Any]:
    latency = {
        "first_token_ms": {"p50": 13.2, "low": 4.5, "high": 26.3},
        "decode_tok_s": {"p50": 230.0, "low": 61.3, "high": 864.0},
        "prefill_tok_s": 24000.0,
        "evidence": "predicted",
        "conditions": {"interval": "80%"},
    }
    line = {
        "format": "gguf", "quant": quant, "file": f"model-{quant.lower()}.gguf", "bytes": int(mib * 2**20),
        "sha256": "0" * 64, "tensor_types": {"F32": 9, quant: 28}, "bits_per_weight": 8.5,
        "parity": {"cases": 24, "prompt_text": 24, "token_ids": 24, "first_token_kl_max": 0.0123, "greedy_text": 22,
                   "passed": True},
        "accuracy": {"value": accuracy, "ci_low": accuracy - 0.03, "ci_high": accuracy + 0.03, "n": 600,
                     "drop": 0.9 - accuracy, "drop_ci_high": 0.91 - accuracy, "mcnemar_p": 0.5},
        "kl_mean": 0.001, "kl_p99": 0.02, "same_top1": 0.995, "latency": latency,
        "memory_mib": {"peak": 58.0, "low": 41.0, "high": 84.0, "evidence": "predicted"},
        "chosen": False, "rejected_because": ["larger than gguf Q8_0"],
    }  # fmt: skip
    return {**line, **changes}


def measured(**changes: Any) -> dict[str, Any]:
    made = {
        "student": {"base_accuracy": 0.25, "tuned_accuracy": 0.9, "n": 600, "details": {"slot_f1": 0.95}},
        "candidates": [
            candidate("F16", 6.1, 0.9),
            candidate("Q8_0", 3.3, 0.898, chosen=True, rejected_because=[]),
            candidate("Q4_K_M", 2.0, 0.62, rejected_because=["accuracy may be 0.290 below the float student's"]),
            candidate("Q4_0", 1.9, 0.55, rejected_because=["accuracy may be 0.360 below the float student's"]),
        ],
        "budgets": [
            {"name": "first_token_ms", "limit": 1500, "value": 13.2, "unit": "ms", "verdict": "unproven",
             "evidence": "predicted, no device at hand"},
            {"name": "decode_tok_s", "limit": 8, "value": 230.0, "unit": "tok/s", "verdict": "unproven",
             "evidence": "predicted, no device at hand"},
            {"name": "package_mib", "limit": 512, "value": 3.3, "unit": "MiB", "verdict": "met",
             "evidence": "measured, file size"},
            {"name": "accuracy_drop", "limit": 0.02, "value": 0.002, "unit": "0-1", "verdict": "met",
             "evidence": "measured, n = 600"},
        ],
        "conditions": {"seed": 0},
    }  # fmt: skip
    return {**made, **changes}


def report(is_measured_required: bool = False, **changes: Any) -> Report:
    return assemble.assemble(
        recipe="quickstart",
        target="rpi5",
        build_id="20261121-101500-quickstart-rpi5",
        started=datetime(2026, 11, 21, 10, 15, tzinfo=UTC),
        seconds=312.44,
        steps=STEPS,
        measured=measured(**changes),
        bundle=BundleLine(path="dist/quickstart-rpi5", bytes=3_500_000, manifest_sha256="a" * 64),
        is_measured_required=is_measured_required,
    )


def missed() -> list[dict[str, Any]]:
    budgets = measured()["budgets"]
    slow = {"value": 1600.0, "verdict": "missed", "evidence": "measured, p50 of 20, local"}
    return [{**budgets[0], **slow}, *budgets[1:]]


def page(given: Report) -> str:
    return unstyle("\n".join(terminal.page(given)))


def test_json_has_exactly_the_keys_of_the_schema():
    made = on_disk.as_json(report())
    assert sorted(made) == sorted(KEYS.split())
    assert made["schema"] == "edgedistill.report/1"
    assert made["stages"][1]["key"] == "9b1e02aa" * 4
    assert made["candidates"][1]["parity"]["passed"] is True
    assert json.loads(json.dumps(made)) == made


def test_report_survives_the_way_to_the_disk_and_back(tmp_path):
    files = assemble.save(report(), LINEAGE, tmp_path / "report")
    assert assemble.load(files["json"]) == report()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]


def test_an_unknown_field_of_the_measurements_is_an_error():
    with pytest.raises(ValidationError, match="acuracy"):
        report(candidates=[candidate("F16", 6.1, 0.9, acuracy={})])


def test_exit_code_is_0_when_nothing_is_missed_even_if_unproven():
    assert report().exit_code == 0


def test_exit_code_is_1_when_measured_evidence_is_required_and_a_budget_is_unproven():
    assert report(is_measured_required=True).exit_code == 1


def test_exit_code_is_1_when_a_budget_is_missed():
    assert report(budgets=missed()).exit_code == 1


def test_exit_code_is_4_when_no_candidate_passes_parity():
    failed = {"cases": 24, "prompt_text": 0, "token_ids": 0, "first_token_kl_max": 9.0, "greedy_text": 0}
    made = report(candidates=[candidate("F16", 6.1, 0.9, parity={**failed, "passed": False})], budgets=[])
    assert made.exit_code == 4
    assert words.headline(made) == "quickstart on rpi5: NOTHING TO SHIP (0 of 1 candidates)"


def test_headlines():
    assert words.headline(report()) == "quickstart on rpi5: NOTHING MISSED, 2 of 4 UNPROVEN"
    required = words.headline(report(is_measured_required=True))
    assert required == "quickstart on rpi5: UNPROVEN (2 of 4), and measured evidence is required"
    assert words.headline(report(budgets=missed())) == "quickstart on rpi5: MISSED (1 of 4)"
    assert words.headline(report(budgets=measured()["budgets"][2:])) == "quickstart on rpi5: MET (2 of 2)"


def test_step_lines_are_those_of_the_style_guide():
    assert terminal.step_line(STEPS[0]) == "elicit     cached    cf7975c0    5,000 drafts"
    assert terminal.step_line(STEPS[1]) == "prefer     1h 12m    9b1e02aa    1,840 pairs from 5,000 drafts"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m 00s"), (185, "3m 05s"), (4320, "1h 12m"),
     (3599.7, "1h 00m"), (7199, "2h 00m")],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds, shown):
    assert words.duration(seconds) == shown


def test_a_prediction_never_looks_like_a_measurement():
    lines = page(report()).splitlines()
    budget = next(line for line in lines if line.split()[:2] == ["first", "token"])
    assert "13.2 ms (4.5 to 26.3)" in budget
    assert "unproven" in budget
    assert "predicted" in budget
    assert any("Q8_0" in line and "~13.2 ms" in line and "~58 MiB" in line for line in lines)


def test_terminal_page_names_every_candidate_and_why_it_was_not_chosen():
    text = page(report())
    for one in measured()["candidates"]:
        assert f"gguf {one['quant']}" in text
        assert all(reason in text for reason in one["rejected_because"])
    assert "student gained 0.650: 0.250 base, 0.900 tuned, n = 600, slot f1 0.950" in text


def test_a_result_that_goes_the_wrong_way_is_said_everywhere():
    made = report(student={"base_accuracy": 0.9, "tuned_accuracy": 0.7, "n": 10})
    assert "student LOST 0.200" in page(made)
    assert "it lost accuracy" in markdown.page(made, LINEAGE)
    assert "it lost accuracy" in html.page(made, LINEAGE)


def test_terminal_page_is_as_readable_without_color():
    plain = page(report())
    assert "\x1b" not in plain
    assert [line for line in plain.splitlines() if line.rstrip() != line] == []


def test_accuracy_limit_is_a_drop_and_decode_is_a_lowest_value():
    found = {budget.name: words.limit(budget) for budget in report().budgets}
    assert found["accuracy_drop"] == "drop <= 0.02"
    assert found["decode_tok_s"] == ">= 8 tok/s"
    assert found["first_token_ms"] == "<= 1,500 ms"


def test_a_value_that_was_not_taken_is_a_dash_and_not_zero():
    budget = BudgetLine(name="memory_mib", limit=1, value=None, unit="MiB", verdict="unproven", evidence="predicted")
    assert words.got(budget, None) == "-"


def test_markdown_tables_are_whole():
    lines = markdown.page(report(), LINEAGE).splitlines()
    widths = [line.count("|") for line in lines if line.startswith("|")]
    assert set(widths) == {6, 11, 3}  # 5, 10 and 2 columns, and the stages' 5
    assert any("**gguf Q8_0**" in line for line in lines)


class Page(HTMLParser):
    """Tags that are opened and closed in order, and every address in them."""

    VOID = frozenset(("meta", "line", "circle", "rect", "path"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_one_well_formed_file_without_scripts_or_addresses():
    text = html.page(report(), LINEAGE)
    found = Page(text)
    assert found.open == []
    assert not {"script", "link", "iframe", "img"} & set(found.tags)
    assert found.addresses == []
    assert not re.search(r"url\(|@import|https?://", text)
    assert "prefers-color-scheme: dark" in text


def test_html_shows_every_candidate_in_tables_and_picture():
    text = html.page(report(), LINEAGE)
    for quant in ("F16", "Q8_0", "Q4_K_M", "Q4_0"):
        assert text.count(quant) >= 3
    assert "Q8_0 (chosen)" in text
    assert "float student 0.900" in text
    assert "base student 0.250" in text


def evaluated(format_name: str, quant: str, mib: float, accuracy: float, answer_ms: float) -> dict[str, Any]:
    line = candidate(quant, mib, accuracy, format=format_name)
    line["latency"]["answer_ms"] = answer_ms
    return line


def test_the_front_holds_what_no_other_beats_in_everything():
    """B is slower, larger and less accurate than A; C is only smaller, D only faster than A."""
    lines = [
        evaluated("gguf", "A", 4, 0.9, 100),
        evaluated("gguf", "B", 5, 0.89, 110),
        evaluated("gguf", "C", 2, 0.8, 120),
        evaluated("onnx_genai", "D", 9, 0.7, 60),
        candidate("E", 1, 0.95, parity={**candidate("E", 1, 1)["parity"], "passed": False}),
        {**candidate("F", 1, 0.9), "parity": None, "accuracy": None},
    ]
    made = report(candidates=lines)
    assert [one.quant for one in pareto.front(made.candidates)] == ["A", "C", "D"]
    drawn = html.page(made, LINEAGE).partition("Accuracy against the time of an answer")[2].partition("</svg>")[0]
    assert drawn.count('class="other beaten"') == 1 and drawn.count('class="other front"') == 3
    assert drawn.count("<rect") == 1, "one is not GGUF"
    assert "predicted time of an answer" in drawn
    near, middle, far = sorted(float(x) for x in re.findall(r'cx="([\d.]+)"', drawn))
    assert middle - near == pytest.approx(math.log(1.1) / math.log(1.2) * (far - near), rel=0.01), "times 100, 110, 120"


def test_names_cover_no_point_and_no_other_name():
    points = [(100.0 + 3 * n, 200.0 + 2 * (n % 3), 5.0, f"Q{n}_K_M") for n in range(12)]
    frame = labels.Box(50, 20, 600, 350)
    placed = labels.place(points, frame)
    assert sum(label is not None for label in placed) >= 10
    boxes = [
        labels.Box(at.x, at.y - 6.5, at.x + labels.CHARACTER * len(text), at.y + 6.5)
        for at, (_, _, _, text) in zip(placed, points, strict=True)
        if at
    ]
    assert all(box.is_within(frame) for box in boxes)
    assert not any(one.meets(other) for n, one in enumerate(boxes) for other in boxes[n + 1 :])
    dots = [labels.Box(x - r, y - r, x + r, y + r) for x, y, r, _ in points]
    assert not any(box.meets(dot) for box in boxes for dot in dots)


def test_every_way_of_answering_and_public_tasks_are_shown():
    line = candidate("Q8_0", 3.3, 0.898, chosen=True, rejected_because=[])
    way = {"value": 0.7, "ci_low": 0.66, "ci_high": 0.74, "n": 600}
    line["accuracy"] |= {"lost": 12, "gained": 9, "bootstrap_low": -0.01, "bootstrap_high": 0.031, "format_rate": 0.987}
    line["accuracy"]["ways"] = {"generation": way, "grammar": {**way, "value": 0.712}}
    line["lm_eval"] = {"arc_easy": {"metric": "acc", "value": 0.612, "stderr": 0.049, "n": 100}}
    text = html.page(report(candidates=[line]), LINEAGE)
    for shown in ("within the grammar", "0.712 (0.660 to 0.740)", "12, 9", "0.987", "-0.010 to 0.031"):
        assert shown in text
    assert "by likelihood" not in text
    assert "acc 0.612 ± 0.049, n = 100" in text
    assert "at most 0.031" in page(report(candidates=[line])), "the wider of the two intervals"


def test_text_of_a_recipe_cannot_break_out_of_the_page():
    made = report().model_copy(update={"recipe": "<script>alert(1)</script>"})
    text = html.page(made, {"<b>": '"&<i>'})
    assert "script" not in Page(text).tags
    assert "b" not in Page(text).tags


def test_picture_places_candidates_by_size_and_accuracy():
    text = html.page(report(), LINEAGE)
    drawn = text[text.index("Accuracy against file size of") :]
    centers = [tuple(map(float, found)) for found in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    by_size = sorted(centers)
    assert len(by_size) == 4
    assert [y for _, y in by_size] == sorted((y for _, y in by_size), reverse=True)  # larger here is better: higher up
    left, right = by_size[0][0], by_size[-1][0]
    assert (right - 56) / (left - 56) == pytest.approx(6.1 / 1.9, rel=0.01)  # sizes start at 0


def test_a_report_without_measurements_has_a_page_too():
    made = assemble.assemble(
        recipe="r",
        target="t",
        build_id="b",
        started=datetime.now(UTC),
        seconds=1,
        steps=STEPS,
        measured={},
        bundle=None,
    )
    assert "no budgets set" in page(made)
    assert "<svg" not in html.page(made, {})
    assert "aligned" not in html.page(made, {})
    assert "aligned" not in markdown.page(made, {})
    assert markdown.page(made, {}).startswith("# r on t")


def test_two_builds_within_one_second_have_folders_of_their_own(tmp_path):
    when = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
    made = [assemble.new_folder(tmp_path, when, "r", "t").name for _ in range(3)]
    assert made == ["20261121-101500-r-t", "20261121-101500-r-t-2", "20261121-101500-r-t-3"]


def fitted(kl: float, uniform: float | None) -> dict[str, Any]:
    own = {"quant": "Q3_K_M", "bytes": 2_000_000, "bits_per_weight": 4.37, "kl": uniform}
    return {"expected_kl": 0.0003, "kl": kl, "positions": 2023, "uniform": own if uniform is not None else None}


@pytest.mark.parametrize(
    ("kl", "uniform", "said"),
    [
        (0.0002, 0.0005, "at 8.50 bits better than Q3_K_M of 4.37 bits, 0.0005."),
        (0.0006, 0.0005, "at 8.50 bits NO BETTER than Q3_K_M of 4.37 bits, 0.0005."),
        (0.0006, None, "no mixture of llama.cpp's own is as small."),
    ],
)
def test_a_mix_is_shown_beside_llama_cpps_own_whichever_way_it_went(kl, uniform, said):
    found = report(candidates=[candidate("MIX_4.5bit", 1.9, 0.9, chosen=True, fitted=fitted(kl, uniform))])
    begin = f"gguf MIX_4.5bit: {kl:.4f} nats from the float file at 2,023 held-out answer tokens (0.0003 expected)"
    for text in (markdown.page(found, LINEAGE), html.page(found, LINEAGE)):
        assert begin in unescape(text) and said in unescape(text)


def test_that_several_candidates_were_tried_is_said():
    assert words.CONTEST in markdown.page(report(), LINEAGE) and words.CONTEST in html.page(report(), LINEAGE)
    alone = report(candidates=[candidate("Q8_0", 3.3, 0.9, chosen=True)])
    assert words.CONTEST not in markdown.page(alone, LINEAGE)
