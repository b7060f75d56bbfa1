"""What a difference looks like, with engines that answer from a table. What real runtimes do is in tests/engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgedistill import differences, golden, parity, shift
from edgedistill.errors import CannotRun, StageFailed, UsageError
from edgedistill.generic_prompts import PROMPTS
from edgedistill.golden import GoldenCase

WORDS = ["on", "off", "up"]
STOP = 3
LOG_PROBS = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))


class Table:
    """A runtime of one word per token; only says what it is told, so it proves the comparison alone."""

    def __init__(self, **changes: Any) -> None:
        self.prefix = changes.get("prefix", "<u>")
        self.begin = changes.get("begin", [0])
        self.log_probs = changes.get("log_probs", LOG_PROBS)
        self.answer = changes.get("answer", "on off")
        self.gaps = changes.get("gaps", (-3.0, -3.0, -3.0))
        self.stops = changes.get("stops", frozenset({STOP}))
        self.names = changes.get("names", WORDS)

    context = 6000

    def as_read(self, text: str) -> str:
        return text

    def piece(self, token_id: int) -> str:
        return "<u>" if token_id == 0 else chr(token_id)

    def added_ids(self) -> frozenset[int]:
        return frozenset({0})

    def unknown_ids(self) -> frozenset[int]:
        return frozenset({ord("~")})

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
        return " ".join(self.names[token] for token in answer)

    def step_log_probs(self, messages: Any, answer: Sequence[int]) -> Any:
        """At each place the given answer's token, or the end, is so much likelier than `up` as `gaps` says."""
        rows = np.full((len(answer) + 1, 4), -5.0)
        for place, (token, gap) in enumerate(zip([*answer, STOP], self.gaps, strict=True)):
            rows[place, 2], rows[place, token] = -0.5, -0.5 - gap
        return rows


ASKED = golden.conversations(["abc", "def", "ghi", "jkl", "mno"], 10)
"""All five odd ones, and five plain questions."""


def cases() -> list[GoldenCase]:
    return golden.make(ASKED, Table(), count=10, max_tokens=4, context=5000)


def check(kind: str = "F16", **changes: Any) -> parity.Parity:
    return parity.check(cases(), Table(**changes), kind, 0.5, 4)


def test_the_odd_cases_come_first_and_a_refused_one_is_lost():
    plain = [f"question-{number}" for number in range(1, 6)]
    assert [case.id for case in cases()] == ["turns", "empty", "long", "unicode", *plain, "general-1"]
    assert golden.left_out(ASKED, cases()) == ["system"], "the fifth odd one of ten; of more, there are six"


@pytest.mark.parametrize(
    ("questions", "count", "odd", "plain", "general"),
    [(24, 24, 6, 18, 0), (8, 8, 4, 4, 0), (2, 8, 4, 2, 2), (10, 24, 6, 10, 8), (1, 24, 6, 1, 17)],
)
def test_there_are_as_many_cases_as_asked_for_and_general_ones_fill_them_up(questions, count, odd, plain, general):
    asked = golden.conversations([f"q{number}" for number in range(questions)], count)
    names = [name for name, _ in asked][:count]  # the others are to spare
    assert sum(name in golden.ODD for name in names) == odd
    assert sum(name.startswith("question-") for name in names) == plain
    assert sum(name.startswith("general-") for name in names) == general
    assert len(asked) >= count + 2, "Gemma's template refuses two"


def test_general_prompts_are_not_asked_twice():
    said = [messages[-1]["content"] for name, messages in golden.conversations(PROMPTS, 24) if name not in golden.ODD]
    assert len(said) == len(set(said)) == 26


def test_no_case_left_is_a_failure():
    class Refusing(Table):
        def token_ids(self, messages: Any) -> list[int]:
            raise UsageError("no template")

    with pytest.raises(StageFailed, match="refuses each of 18 golden cases"):
        golden.make(ASKED, Refusing(), count=10, max_tokens=4, context=5000)


def test_a_refused_case_makes_room_for_another_plain_one():
    asked = golden.conversations([f"question {number}" for number in range(40)], 24)
    made = golden.make(asked, Table(), count=24, max_tokens=4, context=5000)
    assert len(made) == 24
    assert golden.left_out(asked, made) == ["system", "system-turns"]


def test_a_case_with_a_sign_that_the_vocabulary_lacks_is_left_out():
    """The template's, since the texts are as the tokenizer reads them: llama.cpp would end the process on it."""

    class Lacking(Table):
        def token_ids(self, messages: Any) -> list[int]:
            return [*super().token_ids(messages), *([ord("~")] if len(messages) > 1 else [])]

    asked = golden.conversations([f"question {number}" for number in range(40)], 24)
    made = golden.make(asked, Lacking(), count=24, max_tokens=4, context=5000)
    assert len(made) == 24 and golden.left_out(asked, made) == ["system", "turns", "system-turns"]


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
    assert cases()[0].answer == [0, 1]


def test_a_case_of_an_older_bundle_is_read_and_judged_by_its_text_alone():
    old = [{name: value for name, value in vars(case).items() if name != "answer"} for case in cases()]
    read = golden.from_rows(old)
    assert parity.check(read, Table(), "F16", 0.5, 4).passed
    found = parity.check(read, Table(answer="on up"), "F16", 0.5, 4)
    assert "keeps no ids to judge it" in found.first_difference
    assert parity.check(read, Table(answer="on up"), "Q4_0", 0.5, 4).passed


def test_the_same_behavior_passes():
    found = check()
    assert found.first_difference == ""
    assert found.line() == {
        "cases": 10,
        "prompt_text": 10,
        "token_ids": 10,
        "first_token_kl_max": 0.0,
        "top1": 10,
        "top_k": 1.0,
        "answer_kl_mean": None,
        "greedy_text": 10,
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
    assert "the end token 3 is missing" in check(stops=frozenset({8})).first_difference
    assert check(stops=frozenset({8, STOP})).passed  # a runtime may stop at more tokens


def test_an_end_token_after_the_prompt_is_named():
    class Ending(Table):
        def token_ids(self, messages: Any) -> list[int]:
            return [*super().token_ids(messages), STOP]

    assert (
        "the runtime puts the end token 3 after the prompt"
        in parity.check(cases(), Ending(), "F16", 0.5, 4).first_difference
    )


@pytest.mark.parametrize(
    ("types", "limit", "along"),
    [
        ({"F16": 29, "F32": 9}, 0.02, 0.002),
        ({"F32": 30}, 0.02, 0.002),
        ({"Q8_0": 29, "F32": 9}, 0.1, 0.02),
        ({"INT8": 21, "F32": 10}, 0.1, 0.02),
        ({"INT4": 20, "INT8": 1, "F32": 9}, 0.5, 0.1),
        ({"Q6_K": 29, "F32": 9}, 0.25, 0.05),
        ({"Q8_0": 28, "Q6_K": 1, "F32": 9}, 0.25, 0.05),
        ({"Q4_K": 24, "Q6_K": 5, "F32": 9}, 0.5, 0.1),
        ({"Q5_1": 3, "Q8_0": 2}, 0.5, 0.1),
        ({"IQ2_XXS": 3, "Q8_0": 2}, 0.5, 0.1),
    ],
)
def test_the_limit_is_that_of_the_coarsest_type_in_the_file(types, limit, along):
    """Whatever the file is called: Q8_0-plain, INT8-rtn-b32-a4, MIX_6.5bit, Q4_0-head-Q8_0."""
    kind = parity.coarsest(types)
    assert parity.limit_of(kind, 0.5) == limit
    assert parity.limit_of(kind, 0.1, parity.ANSWER_KL) == along
    assert parity.limit_of(kind, 0.001) == 0.001


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


@pytest.mark.parametrize(("kind", "passes"), [("F16", False), ("Q4_0", True)])
def test_a_float_format_has_the_tighter_limit(kind, passes):
    moved = np.log(np.array([0.35, 0.4, 0.125, 0.125], np.float32))
    found = check(kind, log_probs=moved)
    assert found.line()["passed"] is passes
    assert passes or "the weights in the file are not the student's" in found.first_difference


def test_a_quantized_file_beyond_the_limit_fails():
    assert "the limit is 0.5" in check("Q4_0", log_probs=np.log(np.array([0.01, 0.01, 0.01, 0.97]))).first_difference


def test_another_answer_fails_a_float_format_only():
    assert "greedy answer differs at character 0" in check(answer="up on off up off on").first_difference
    assert check("Q4_0", answer="up on off up off on").first_difference == ""


def test_first_tokens_that_change_places_are_compared_and_counted():
    """0.25 and 0.125 the other way round; KL 0.087, within the limit of eight bits: two of four are where they were."""
    moved = np.log(np.array([0.5, 0.125, 0.25, 0.125], np.float32))
    found = check("Q8_0", log_probs=moved)
    assert found.passed and found.line()["top1"] == 10 and found.line()["top_k"] == 1.0
    first = check("Q4_0", log_probs=np.log(np.array([0.25, 0.5, 0.125, 0.125], np.float32)))
    assert first.passed and first.line()["top1"] == 0


def test_the_share_of_the_likeliest_first_tokens_by_hand(monkeypatch):
    """Kept are ids 0 and 1; the runtime's two likeliest are 0 and 2."""
    monkeypatch.setattr(golden, "top_of", lambda log_probs, k=2: [(0, math.log(0.5)), (1, math.log(0.25))])
    found = check("Q4_0", log_probs=np.log(np.array([0.5, 0.2, 0.25, 0.05], np.float32)))
    assert found.line()["top_k"] == 0.5


@pytest.mark.parametrize(("second", "third", "passes"), [(0.30, 0.32, False), (0.31, 0.31, False), (0.32, 0.30, True)])
def test_a_float_file_ranks_first_tokens_as_the_student_does(second, third, passes):
    """The student holds 1 before 2 by 0.066 nats, more than a tie; KL is below 0.02 in each case."""
    student = np.log(np.array([0.36, 0.32, 0.2995, 0.0205], np.float32))
    made = golden.make(ASKED, Table(log_probs=student), count=10, max_tokens=4, context=5000)
    moved = np.log(np.array([0.98 - second - third, second, third, 0.02], np.float32))
    found = parity.check(made, Table(log_probs=moved), "F16", 0.5, 4)
    assert found.passed is passes and max(result.first_token_kl for result in found.results) < 0.02
    assert passes or "first tokens are ranked otherwise: 2 before 1" in found.first_difference
    assert parity.check(made, Table(log_probs=moved), "Q4_0", 0.5, 4).passed


def test_a_tie_is_noted_and_passes():
    """`on up` for `on off`: the runtime likes `up` by 0.01 nats more, which rounding alone can turn."""
    found = check(answer="on up", gaps=(-3.0, 0.01, -3.0))
    assert found.line()["passed"]
    assert found.line()["greedy_text"] == 0
    assert "token 1, at a tie of 0.0100 nats" in found.results[0].note
    wrong = check(answer="on up", gaps=(-3.0, 0.1, -3.0))
    assert "at token 1 the two are 0.10 nats apart" in wrong.first_difference


def test_behind_a_tie_the_rest_of_the_answer_must_be_the_students():
    """A tie at the first token, and where it is led back to the student's word, the runtime would not stop."""
    found = check(answer="up up up up", gaps=(0.01, -3.0, 0.4))
    assert "at token 2 the two are 0.40 nats apart" in found.first_difference
    assert check(answer="up up up up", gaps=(0.01, -3.0, 0.04)).passed


def test_a_tie_of_two_other_tokens_is_no_excuse():
    """The runtime's two likeliest are equal, and the student's word is neither."""

    class Torn(Table):
        def step_log_probs(self, messages: Any, answer: Sequence[int]) -> Any:
            rows = super().step_log_probs(messages, answer)
            rows[1] = [-0.7, -4.0, -0.7, -9.0]
            return rows

    found = parity.check(cases(), Torn(answer="on up"), "F16", 0.5, 4)
    assert "at token 1 the two are 3.30 nats apart" in found.first_difference


def test_what_is_written_must_be_what_is_held_likely_when_read():
    """A broken cache: led along the student's answer it agrees by 3 nats, and left alone it writes another one."""
    found = check(answer="on up")
    assert "at token 1 the two are 3.00 nats apart" in found.first_difference


def test_an_answer_that_was_cut_says_nothing_of_its_end():
    made = golden.make(ASKED, Table(), count=10, max_tokens=2, context=5000)
    runtime = Table(answer="on up", gaps=(-3.0, 0.01, 4.0))
    assert parity.check(made, runtime, "F16", 0.5, 2).passed
    assert not parity.check(made, runtime, "F16", 0.5, 4).passed


@pytest.mark.parametrize("kind", ["F16", "Q4_0"])
def test_the_students_answer_ids_must_give_its_text_in_every_format(kind):
    found = check(kind, names=["on", "of", "up"])
    assert "the same answer ids give another text, from character 5 on" in found.first_difference


def test_bytes_that_are_no_whole_character_are_the_same_however_they_are_written():
    assert differences.is_same("a\ufffd\ufffdb\ufffd", "a\ufffdb\ufffd\ufffd")
    assert not differences.is_same("a\ufffdb", "ab")
    assert differences.is_same(" He liked", "He liked ")
    assert not differences.is_same("He  liked", "He liked") and not differences.is_same("a\n", "a")


def test_a_runtime_that_stops_half_way_fails_and_says_so():
    class Stopping(Table):
        def answer_ids(self, conversations: Sequence[Any], *, max_tokens: int) -> list[list[int]]:
            raise CannotRun("the graph has no such node")

    found = parity.check(cases(), Stopping(), "Q4_0", 0.5, 4)
    assert found.first_difference == "the graph has no such node" and not found.has_prompts


def along(student: Table) -> shift.HeldOut:
    return shift.along(student, [(case.messages, case.answer or []) for case in cases()])


def test_golden_cases_keep_what_is_likeliest_along_their_answers():
    """Where the vocabulary is no larger than what is kept, they tell as much as the student."""
    kept, whole = golden.along(cases()), along(Table())
    assert kept is not None and kept.rows == whole.rows and kept.positions == 3 * len(cases())
    assert (kept.ids[:, 0] == whole.ids[:, 0]).all() and np.allclose(kept.log_probs, whole.log_probs, atol=1e-6)


def test_cases_that_keep_nothing_of_their_answers_tell_nothing_of_them():
    assert golden.along([replace(case, steps=[]) for case in cases()]) is None and golden.along([]) is None


def test_golden_answers_are_compared_at_every_token():
    """Each answer has three positions of 0.64 nats, or none; one of the ten cases is off."""

    class Once(Table):
        def step_log_probs(self, messages: Any, answer: Sequence[int]) -> Any:
            is_off = messages == cases()[3].messages
            shares = [0.1, 0.1, 0.7, 0.1] if is_off else [0.7, 0.1, 0.1, 0.1]
            return np.tile(np.log(shares), (len(answer) + 1, 1))

    class Student(Table):
        def step_log_probs(self, messages: Any, answer: Sequence[int]) -> Any:
            return np.tile(np.log([0.7, 0.1, 0.1, 0.1]), (len(answer) + 1, 1))

    far, before = 0.6 * math.log(7), along(Student())
    found = parity.check_answers(check("Q4_0"), before, Once(), "Q4_0", 0.1)
    assert found.answer_kl_mean == pytest.approx(far / 10, abs=1e-6)
    assert found.line()["answer_kl_mean"] == found.answer_kl_mean
    assert "nats from the float student's on average (1.17 in this case), the limit is 0.1" in found.first_difference
    assert found.results[3].difference and not found.results[0].difference
    assert parity.check_answers(check("Q4_0"), before, Student(), "Q4_0", 0.1).passed
    assert parity.check_answers(check("Q4_0"), before, Once(), "Q4_0", 0.12).passed
    assert not parity.check_answers(check("Q8_0"), before, Once(), "Q8_0", 0.12).passed


def test_numbers_that_are_none_fail():
    class Broken(Table):
        def step_log_probs(self, messages: Any, answer: Sequence[int]) -> Any:
            return np.full((len(answer) + 1, 4), np.nan)

    found = parity.check_answers(check("Q4_0"), along(Table()), Broken(), "Q4_0", 0.1)
    assert not found.passed and found.answer_kl_mean is not None and found.answer_kl_mean > 10
    assert not check("Q4_0", log_probs=np.full(4, np.nan)).passed


def test_no_template_at_all_is_a_difference():
    class Without(Table):
        def render(self, messages: Any) -> str:
            raise UsageError("model.gguf holds no chat template")

    found = parity.check(cases(), Without(), "F16", 0.5, 4)
    assert not found.has_prompts
    assert "holds no chat template" in found.first_difference


def line(
    kind: str, kl: float | None, difference: str = "", file_format: str = "gguf", along: float | None = 0.0
) -> Any:
    found = {"first_token_kl_max": kl, "answer_kl_mean": along, "passed": not difference}
    described = {"format": file_format, "quant": kind, "tensor_types": {kind: 9}}
    return {**described, "parity": found, "parity_difference": difference}


def test_a_quantized_file_fails_with_the_float_file_it_was_made_from():
    """0.17 nats are within the limit of quantized files: only the float file beside them tells of a wrong export."""
    wrong = line("F16", 0.17, "case turns: 0.17 nats")
    lines = [line("Q8_0", 0.05), wrong, line("Q4_0", 0.2), line("INT4", 0.1, "", "onnx")]
    judged = parity.judged_by_source(lines)
    assert [one["parity"]["passed"] for one in judged] == [False, False, False, True]
    assert judged[0]["parity_difference"] == "the F16 file of the same export fails: case turns: 0.17 nats"
    apart = [line("F16", 0.0, "case turns: the greedy answer differs"), line("Q8_0", 0.05)]
    assert not parity.judged_by_source(apart)[1]["parity"]["passed"]


def test_a_float_file_that_is_no_candidate_judges_too():
    wrong = line("F16", 0.001, "case turns: 0.01 nats on average", along=0.01)
    (judged,) = parity.judged_by_source([line("Q4_0", 0.2)], [wrong])
    assert not judged["parity"]["passed"] and "of the same export fails" in judged["parity_difference"]
    assert parity.judged_by_source([line("Q4_0", 0.2)], [line("F16", 0.001)])[0]["parity"]["passed"]


def test_one_float_file_that_agrees_shows_that_the_export_is_right():
    """Computing in 16 bits may go wrong by itself, and one that does not run says nothing."""
    lines = [line("F16", 5.0, "too far"), line("F32", 0.0), line("INT8", 0.01)]
    assert parity.judged_by_source(lines)[2]["parity"]["passed"]
    lines = [line("F16", None, "cannot run", along=None), line("INT8", 0.01)]
    assert parity.judged_by_source(lines)[1]["parity"]["passed"]
