"""Which candidate ships, from lines made up by hand."""

from __future__ import annotations

from typing import Any

import pytest

from edgedistill import choice
from edgedistill.recipe import Budgets
from edgedistill.report.schema import BudgetLine


def line(quant: str, size: int, value: float, high: float, **changes: Any) -> dict[str, Any]:
    """Faster the smaller it is: an answer takes 40 ms and 10 ms per MiB."""
    passed = changes.pop("passed", True)
    made = {
        "format": "gguf",
        "quant": quant,
        "bytes": size * choice.MIB,
        "parity": {"passed": passed},
        "parity_difference": "" if passed else "case empty: …",
        "accuracy": {
            "value": value,
            "drop": 0.9 - value,
            "drop_ci_high": high,
            "bootstrap_high": 0.9 - value,
            "n": 300,
        },
        "kl_mean": 0.1 / size,
        "latency": {
            "first_token_ms": {"p50": 40.0},
            "decode_tok_s": {"p50": 50.0},
            "answer_ms": 40.0 + 10 * size,
            "evidence": "measured",
            "conditions": {"where": "local", "runs": 20, "noisy": None},
        },
        "memory_mib": {"peak": 60.0, "evidence": "measured"},
    }
    return {**made, **changes}


LIMITS = Budgets(accuracy_drop=0.02, decode_tok_s=10, package_mib=50)


def reasons(chosen: list[dict[str, Any]]) -> dict[str, str]:
    return {one["quant"]: "chosen" if one["chosen"] else "; ".join(one["rejected_because"]) for one in chosen}


def test_the_one_that_answers_soonest_of_those_that_keep_every_limit_is_chosen():
    lines = [
        line("F16", 8, 0.9, 0.0126),
        line("Q8_0", 4, 0.9, 0.0126),
        line("Q4_K_M", 3, 0.89, 0.03),
        line("Q4_0", 2, 0.9, 0.0126, passed=False),
    ]
    assert reasons(choice.choose(lines, LIMITS)) == {
        "F16": "slower than gguf Q8_0: an answer takes 120.0 ms, not 80.0",
        "Q8_0": "chosen",
        "Q4_K_M": "accuracy may be 0.030 below the float student's, the limit is 0.020",
        "Q4_0": "parity: case empty: …",
    }


def test_gguf_and_onnx_compete():
    faster = line("INT4", 4, 0.9, 0.0126, format="onnx_genai")
    faster["latency"]["answer_ms"] = 50.0
    found = choice.choose([line("Q4_K_M", 2, 0.9, 0.0126), faster], LIMITS)
    assert [one["chosen"] for one in found] == [False, True]
    assert found[0]["rejected_because"][0].startswith("slower than onnx_genai INT4")


@pytest.mark.parametrize(
    ("own", "best", "said"), [(6.18, 6.15, "6.18 ms, not 6.15"), (6.151, 6.15, "6.151 ms, not 6.150")]
)
def test_times_that_differ_are_told_with_the_digits_that_show_it(own, best, said):
    lines = [line("F16", 8, 0.9, 0.01), line("Q8_0", 4, 0.9, 0.01)]
    lines[0]["latency"]["answer_ms"], lines[1]["latency"]["answer_ms"] = own, best
    assert reasons(choice.choose(lines, LIMITS))["F16"] == f"slower than gguf Q8_0: an answer takes {said}"


@pytest.mark.parametrize(
    ("preference", "best", "because"),
    [
        ("fastest", "fast", "slower than gguf fast: an answer takes 60.0 ms, not 30.0"),
        ("smallest", "small", "larger than gguf small, which keeps the limits too"),
        ("most_accurate", "good", "less accurate than gguf good, which keeps the limits too: 0.900, not 0.910"),
    ],
)
def test_the_target_says_what_is_best(preference, best, because):
    lines = [line("small", 2, 0.9, 0.01), line("fast", 4, 0.9, 0.01), line("good", 8, 0.91, 0.01)]
    lines[1]["latency"]["answer_ms"] = 30.0
    found = reasons(choice.choose(lines, LIMITS, preference))
    assert found.pop(best) == "chosen"
    assert because in found.values()


def test_without_speed_the_smallest_is_chosen():
    lines = [line("F16", 8, 0.9, 0.01, latency=None), line("Q8_0", 4, 0.9, 0.01, latency=None)]
    found = choice.choose(lines, LIMITS)
    assert reasons(found) == {"F16": "larger than gguf Q8_0, which keeps the limits too", "Q8_0": "chosen"}


def test_if_none_is_good_enough_the_most_accurate_is_chosen():
    lines = [line("Q8_0", 4, 0.86, 0.06), line("Q4_0", 2, 0.8, 0.12)]
    assert [one["chosen"] for one in choice.choose(lines, LIMITS)] == [True, False]


def test_without_a_task_the_most_accurate_is_the_least_moved():
    lines = [line("Q4_0", 2, 0, 0, accuracy=None), line("Q8_0", 4, 0, 0, accuracy=None)]
    found = choice.choose(lines, LIMITS, "most_accurate")
    assert (
        reasons(found)["Q4_0"]
        == "as accurate as gguf Q8_0, which keeps the limits too, but further from the float student"
    )
    assert "accuracy_drop" not in [budget["name"] for budget in choice.grade(found[1], LIMITS)]


def test_none_is_chosen_when_none_passes_parity():
    assert not choice.choose([line("F16", 4, 0.9, 0.01, passed=False)], LIMITS)[0]["chosen"]


def test_the_margin_is_002_where_nobody_sets_it():
    graded = {budget["name"]: budget for budget in choice.grade(line("Q8_0", 4, 0.9, 0.019), Budgets())}
    assert graded["accuracy_drop"]["limit"] == 0.02
    assert graded["accuracy_drop"]["verdict"] == "met"
    assert reasons(choice.choose([line("A", 4, 0.9, 0.021), line("B", 5, 0.9, 0.019)], Budgets()))["B"] == "chosen"


def test_both_intervals_must_be_within_the_margin():
    one = line("Q8_0", 4, 0.9, 0.019)
    one["accuracy"]["bootstrap_high"] = 0.022
    found = choice.choose([one, line("F16", 8, 0.9, 0.01)], LIMITS)
    assert found[0]["rejected_because"] == ["accuracy may be 0.022 below the float student's, the limit is 0.020"]


def test_a_line_that_was_not_evaluated_keeps_its_reason():
    spared = line("F32", 16, 0, 0, parity=None, accuracy=None, rejected_because=["too large; not evaluated"])
    found = choice.choose([spared, line("F16", 8, 0.9, 0.01)], LIMITS)
    assert [one["chosen"] for one in found] == [False, True]
    assert found[0]["rejected_because"] == ["too large; not evaluated"]


def test_an_answer_is_the_first_token_and_the_decoding_of_the_others():
    """40 ms, and 10 more tokens at 50 a second: 240 ms."""
    latency = {"first_token_ms": {"p50": 40.0}, "decode_tok_s": {"p50": 50.0}}
    assert choice.answer_ms(latency, 11) == pytest.approx(240)
    assert choice.answer_ms(latency, 0) == pytest.approx(40)
    assert choice.answer_ms(None, 11) is None


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({}, "decode_tok_s", "met"),
        ({"decode_tok_s": 9.0}, "decode_tok_s", "missed"),
        ({"evidence": "predicted"}, "decode_tok_s", "unproven"),
        ({"decode_tok_s": 9.0, "noisy": "others"}, "decode_tok_s", "unproven"),
        ({"noisy": "others"}, "decode_tok_s", "met"),
        ({"value": 0.89, "high": 0.025}, "accuracy_drop", "unproven"),
        ({"value": 0.85, "high": 0.09}, "accuracy_drop", "missed"),
        ({}, "accuracy_drop", "met"),
    ],
)
def test_verdicts(changes, name, verdict):
    one = line("Q8_0", 4, changes.get("value", 0.9), changes.get("high", 0.0126))
    one["latency"]["decode_tok_s"]["p50"] = changes.get("decode_tok_s", 50.0)
    one["latency"]["evidence"] = changes.get("evidence", "measured")
    one["latency"]["conditions"]["noisy"] = changes.get("noisy")
    graded = {budget["name"]: budget for budget in choice.grade(one, LIMITS)}
    assert graded[name]["verdict"] == verdict
    BudgetLine(**graded[name])
