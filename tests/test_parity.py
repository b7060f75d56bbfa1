"""What a difference looks like, with engines that answer from a table. What real runtimes do is in tests/engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgedistill import golden, parity
from edgedistill.errors import StageFailed, UsageError
from edgedistill.golden import GoldenCase

WORDS = ["on", "off", "up"]
LOG_PROBS = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))


class Table:
    """A runtime of one word per token; only says what it is told, so it proves the comparison alone."""

    def __init__(self, **changes: Any) -> None:
        self.prefix = changes.get("prefix", "<u>")
        self.begin = changes.get("begin", [0])
        self.log_probs = changes.get("log_probs", LOG_PROBS)
        self.answer = changes.get("answer", "on off")
        self.gap = changes.get("gap", 1.0)
        self.stops = changes.get("stops", frozenset({9}))

    context = 6000

    def as_read(self, text: str) -> str:
        return text

    def piece(self, token_id: int) -> str:
        return "<u>" if token_id == 0 else chr(token_id)

    def added_ids(self) -> frozenset[int]:
        return frozenset({0})

    def stop_ids(self) -> frozenset[int]:
        return self.stops

    def render(self, messages: Any) -> str:
        if messages[0]["role"] == "system":
            raise UsageError("no system role")
        return self.prefix + "".join(message["content"] for message in messages)

    def token_ids(self, messages: Any) -> list[int]:
        self.render(messages)
        return [*self.begin, *(ord(letter) for letter in messages[-1]["content"])]

    def generate(self, conversations: Sequence[Any], **_: Any) -> list[str]:
        return [self.answer for _ in conversations]

    def first_token_log_probs(self, conversations: Sequence[Any]) -> Any:
        return np.tile(self.log_probs, (len(conversations), 1))

    def answer_ids(self, conversations: Sequence[Any], *, max_tokens: int) -> list[list[int]]:
        return [[WORDS.index(word) for word in self.answer.split()] for _ in conversations]

    def text_of(self, answer: Sequence[int]) -> str:
        return " ".join(WORDS[token] for token in answer)

    def step_log_probs(self, messages: Any, answer: Sequence[int]) -> Any:
        rows = np.full((len(answer) + 1, 4), -5.0)
        rows[:, 2], rows[:, 1] = -0.1, -0.1 - 3.0
        rows[-2, 1] = -0.1 - self.gap  # at the second of two words
        return rows


ASKED = golden.conversations(["abc", "def", "ghi", "jkl", "mno"], 10)
"""All five odd ones, and five plain questions."""


def cases() -> list[GoldenCase]:
    return golden.make(ASKED, Table(), count=10, max_tokens=4, context=5000)


def check(quant: str = "F16", **changes: Any) -> parity.Parity:
    return parity.check(cases(), Table(**changes), quant, 0.5, 4)


def test_the_odd_cases_come_first_and_a_refused_one_is_lost():
    plain = [f"question-{number}" for number in range(1, 6)]
    assert [case.id for case in cases()] == ["turns", "empty", "long", "unicode", *plain]


@pytest.mark.parametrize(("questions", "count", "odd", "plain"), [(24, 24, 6, 18), (8, 8, 4, 4), (2, 8, 2, 2)])
def test_at_least_half_of_the_cases_are_plain_questions(questions, count, odd, plain):
    names = [name for name, _ in golden.conversations([f"q{number}" for number in range(questions)], count)]
    assert len(names) >= odd + plain
    names = names[:count]  # the others are to spare
    assert sum(name.startswith("question-") for name in names) == plain


def test_no_case_left_is_a_failure():
    class Refusing(Table):
        def token_ids(self, messages: Any) -> list[int]:
            raise UsageError("no template")

    with pytest.raises(StageFailed, match="refuses each of 10 golden cases"):
        golden.make(ASKED, Refusing(), count=10, max_tokens=4, context=5000)


def test_a_refused_case_makes_room_for_another_plain_one():
    asked = golden.conversations([f"question {number}" for number in range(40)], 24)
    made = golden.make(asked, Table(), count=24, max_tokens=4, context=5000)
    assert len(made) == 24
    assert not {"system", "system-turns"} & {case.id for case in made}


def test_texts_are_as_the_students_tokenizer_reads_them():
    class Merging(Table):
        def as_read(self, text: str) -> str:
            return " ".join(text.split())

    case = next(
        case for case in golden.make(ASKED, Merging(), count=10, max_tokens=4, context=5000) if case.id == "unicode"
    )
    assert "  " not in case.messages[0]["content"] and "\n" not in case.prompt


def test_nothing_compared_is_not_passed():
    found = parity.check([], Table(), "F16", 0.5, 4)
    assert not found.line()["passed"]
    assert found.first_difference == "there is no golden case to compare"


def test_the_long_case_is_shortened_until_it_fits():
    long = next(case for case in golden.make(ASKED, Table(), count=10, max_tokens=50, context=750) if case.id == "long")
    assert len(long.messages[-1]["content"]) == golden.LONG_CHARACTERS // 2
    assert "long" not in [case.id for case in golden.make(ASKED, Table(), count=10, max_tokens=50, context=110)]


def test_a_case_survives_its_file():
    rows = [vars(case) for case in cases()]
    assert golden.from_rows(rows) == cases()


def test_the_same_behavior_passes():
    found = check()
    assert found.first_difference == ""
    assert found.line() == {
        "cases": 9,
        "prompt_text": 9,
        "token_ids": 9,
        "first_token_kl_max": 0.0,
        "greedy_text": 9,
        "passed": True,
    }


def test_another_template_is_named():
    found = check(prefix="<x>")
    assert "case turns: prompt text differs at character 1" in found.first_difference
    assert "chat template" in found.first_difference
    assert not found.line()["passed"]
    assert found.line()["prompt_text"] == 0


def test_a_doubled_begin_token_is_named():
    assert "the begin token 0 is doubled" in check(begin=[0, 0]).first_difference


def test_a_foreign_begin_token_is_named():
    assert "a begin token 7 before the prompt" in check(begin=[7, 0]).first_difference


def test_a_missing_begin_token_is_named():
    assert "the begin token 0 is missing" in check(begin=[]).first_difference


def test_other_ids_are_named_with_their_place():
    assert "position 0: expected 0, got 9" in check(begin=[9]).first_difference


def test_a_missing_end_token_is_named():
    assert "the end token 9 is missing" in check(stops=frozenset({8})).first_difference
    assert check(stops=frozenset({8, 9})).passed  # a runtime may stop at more tokens


def test_an_end_token_after_the_prompt_is_named():
    class Ending(Table):
        def token_ids(self, messages: Any) -> list[int]:
            return [*super().token_ids(messages), 9]

    assert (
        "the runtime puts the end token 9 after the prompt"
        in parity.check(cases(), Ending(), "F16", 0.5, 4).first_difference
    )


@pytest.mark.parametrize(
    ("quant", "limit"),
    [("F16", 0.02), ("Q8_0", 0.1), ("Q6_K", 0.25), ("Q4_0", 0.5), ("int4", 0.5)],
)
def test_the_limit_is_tighter_where_there_are_more_bits(quant, limit):
    assert parity.limit_of(quant, 0.5) == limit
    assert parity.limit_of(quant, 0.01) == 0.01


def test_divergence_by_hand():
    """0.5 ln(0.5/0.25) + 0.25 ln(0.25/0.5) = 0.25 ln 2, the other two agree."""
    other = np.log(np.array([0.25, 0.5, 0.125, 0.125]))
    assert parity.divergence(golden.top_of(LOG_PROBS), other) == pytest.approx(0.25 * math.log(2), abs=1e-5)


def test_what_is_not_kept_is_one_bin():
    """Kept: 0.5 on both sides. Rest 0.5 on both sides, however it is spread: no divergence."""
    other = np.log(np.array([0.5, 0.01, 0.01, 0.48]))
    assert parity.divergence([(0, math.log(0.5))], other) == pytest.approx(0.0, abs=1e-6)


def test_an_id_that_the_runtime_lacks_diverges():
    assert parity.divergence([(9, 0.0)], LOG_PROBS) > 10


@pytest.mark.parametrize(("quant", "passes"), [("F16", False), ("Q4_0", True)])
def test_a_float_format_has_the_tighter_limit(quant, passes):
    moved = np.log(np.array([0.35, 0.4, 0.125, 0.125], np.float32))
    found = check(quant, log_probs=moved)
    assert found.line()["passed"] is passes
    assert passes or "the weights in the file are not the student's" in found.first_difference


def test_a_quantized_file_beyond_the_limit_fails():
    assert "the limit is 0.5" in check("Q4_0", log_probs=np.log(np.array([0.01, 0.01, 0.01, 0.97]))).first_difference


def test_another_answer_fails_a_float_format_only():
    assert "greedy answer differs at character 0" in check(answer="up on off up off on").first_difference
    assert check("Q4_0", answer="up on off up off on").first_difference == ""


def test_a_tie_is_noted_and_passes():
    """`on up` for `on off`: the runtime likes `up` by 0.01 nats more, which rounding alone can turn."""
    found = check(answer="on up", gap=0.01)
    assert found.line()["passed"]
    assert found.line()["greedy_text"] == 0
    assert "token 1, at a tie of 0.0100 nats" in found.results[0].note
    assert not check(answer="on up", gap=0.1).line()["passed"]


def test_no_template_at_all_is_a_difference():
    class Without(Table):
        def render(self, messages: Any) -> str:
            raise UsageError("model.gguf holds no chat template")

    found = parity.check(cases(), Without(), "F16", 0.5, 4)
    assert not found.has_prompts
    assert "holds no chat template" in found.first_difference


def test_a_quantized_file_fails_with_the_float_file_it_was_made_from():
    """0.17 nats are within the limit of quantized files: only the float file beside them tells of a wrong export."""

    def line(quant: str, kl: float | None, difference: str = "", file_format: str = "gguf") -> dict[str, Any]:
        found = {"first_token_kl_max": kl, "passed": not difference}
        return {"format": file_format, "quant": quant, "parity": found, "parity_difference": difference}

    wrong = line("F16", 0.17, "case turns: 0.17 nats")
    judged = parity.judged_by_source([line("Q8_0", 0.17), wrong, line("Q4_0", 0.2), line("int4", 0.1, "", "onnx")])
    assert [one["parity"]["passed"] for one in judged] == [False, False, False, True]
    assert judged[0]["parity_difference"] == "the F16 file of the same export fails: case turns: 0.17 nats"
    # A float file may fail in its own way: the quantized one is not judged by that.
    apart = [line("F16", 0.0, "case turns: the greedy answer differs"), line("Q8_0", 0.1)]
    assert parity.judged_by_source(apart)[1]["parity"]["passed"]
