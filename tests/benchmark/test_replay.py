"""The golden cases through a real llama-server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgedistill.benchmark import limits, llama, replay
from edgedistill.benchmark.limits import Limits
from edgedistill.benchmark.replay import Replay
from edgedistill.engine import open_file
from edgedistill.golden import GoldenCase
from edgedistill.parity import Parity

CONTEXT, ANSWER = 256, 8
"""Those of the bundles in conftest.py."""
LIMITS = Limits("Q8_0", 0.5, 0.2, ANSWER)


def replayed(server: llama.LlamaServer, cases: list[GoldenCase]) -> Parity:
    return server.replay(cases, LIMITS, {}, lambda row: None)


def test_the_server_says_what_the_binding_says(server, where, golden_cases, tiny_candidates):
    """The same file, in the same runtime: once in this process, once over HTTP. Another CPU rounds otherwise, which
    random weights show in an answer's text."""
    found = replayed(server, golden_cases)
    assert found.passed, found.first_difference
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    with open_file(tiny_candidates.file(candidate), "gguf", context=CONTEXT) as engine:
        expected = limits.check(golden_cases, engine, LIMITS)
    for one, other in zip(found.results, expected.results, strict=True):
        assert (one.id, one.prompt_text, one.token_ids) == (other.id, other.prompt_text, other.token_ids)
        assert one.first_token_kl == pytest.approx(other.first_token_kl, abs=2e-3)
        assert one.answer_kl == pytest.approx(other.answer_kl, abs=2e-3)
        assert one.greedy_text == other.greedy_text or where[0] != "local"


def test_each_case_is_asked_once_and_again_only_where_its_answer_goes_another_way(server, golden_cases, monkeypatch):
    """Nor is its prompt read again then. A case with tokens that end within a character takes more questions, too."""
    asked: list[list[Any]] = []
    post = server._post

    def noted(path: str, body: dict[str, Any]) -> Any:
        reply = post(path, body)
        if "return_tokens" in body:
            asked.append([])
        if "n_probs" in body:
            asked[-1].append((len(body["prompt"]), reply))
        return reply

    monkeypatch.setattr(server, "_post", noted)
    replayed(server, golden_cases)
    again = 0
    for case, ((_, first), *more) in zip(golden_cases, asked, strict=True):
        assert first["timings"]["prompt_n"] == len(case.token_ids)
        behind = [reply["timings"]["prompt_n"] for length, reply in more if length > len(case.token_ids)]
        assert len(behind) <= len(case.answer) and all(count <= len(case.answer) for count in behind)
        again += len(more)
    assert again < 0.8 * sum(len(case.answer) + 1 for case in golden_cases)


def test_behind_the_place_where_answers_part_the_server_is_led_along_the_golden_one(
    server, where, golden_cases, tiny_candidates
):
    """Against the binding, which is given the whole answer at once. Two tokens are none that the model would choose."""
    odd = [replace(case, answer=[*case.answer[:2], 40, 41, *case.answer[4:]]) for case in golden_cases[:3]]
    heard = Replay(server._post, server._properties, odd, ANSWER, {}, lambda row: None)
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    with open_file(tiny_candidates.file(candidate), "gguf", context=CONTEXT) as engine:
        for case in odd:
            rows, expected = (one.step_log_probs(case.messages, case.answer) for one in (heard, engine))
            assert len(rows) == len(expected) == len(case.answer) + 1
            before = engine.step_log_probs(case.messages, golden_cases[odd.index(case)].answer)
            for place, steps in enumerate(case.steps):
                named = [token for token, _ in steps]
                assert rows[place][named] == pytest.approx(expected[place][named], abs=0.1)
                is_other = abs(rows[place][named] - before[place][named]).max() > 0.2
                if place < 5:  # further on they fade
                    assert is_other == (place > 2), "behind the tokens that were put in"


def test_cases_of_a_run_that_was_cut_are_not_asked_again(server, golden_cases, monkeypatch):
    kept: list[dict[str, Any]] = []
    found = server.replay(golden_cases, LIMITS, {}, kept.append)
    known = {row["id"]: json.loads(json.dumps(row)) for row in kept}
    assert list(known) == [case.id for case in golden_cases]
    asked, post = [], server._post
    monkeypatch.setattr(server, "_post", lambda path, body: asked.append(body) or post(path, body))
    cut = {name: row for name, row in known.items() if name != golden_cases[3].id}
    assert server.replay(golden_cases, LIMITS, cut, kept.append) == found
    assert [body["prompt"] for body in asked if "return_tokens" in body] == [golden_cases[3].token_ids]
    other = [replace(golden_cases[0], answer=[5, 6]), *golden_cases[1:]]
    assert [row["golden"] for row in _kept(server, other, known)] == [[5, 6]], "another golden answer is another case"


def _kept(server: llama.LlamaServer, cases: list[GoldenCase], known: dict[str, Any]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    server.replay(cases, LIMITS, known, kept.append)
    return kept


def test_probabilities_that_the_server_leaves_out_are_not_taken_for_others():
    """It tells none of a token that ends within a character."""

    def placed(tokens: list[int], told: list[int]) -> dict[int, int]:
        steps = [{"id": one, "top_logprobs": [{"id": n, "logprob": -1.0}]} for n, one in enumerate(told)]
        return {place: next(iter(row)) for place, row in replay._placed(tokens, steps).items()}

    assert placed([7, 8, 9], [7, 8, 9]) == {0: 0, 1: 1, 2: 2}
    assert placed([7, 8, 9], [7, 9]) == {0: 0, 2: 1}
    assert placed([7, 5, 5, 9], [7, 5, 9]) == {0: 0, 3: 2}, "either 5 may be the one that is told"
    assert placed([7, 7], []) == {}


def test_control_tokens_of_an_answer_are_not_in_its_text(server, golden_cases):
    replay = Replay(server._post, server._properties, golden_cases, ANSWER, {}, lambda row: None)
    control, word = golden_cases[0].added[0], golden_cases[0].answer[0]
    assert replay.text_of([control]) == ""
    assert replay.text_of([control, word, control]) == replay.text_of([word])


def test_answers_that_go_another_way_behind_the_first_token_are_found(server, golden_cases):
    """What a cache that is written wrongly does: the first token is right, and what is held likely later is not."""
    turned = [replace(case, steps=[case.steps[0], *case.steps[:0:-1]]) for case in golden_cases]
    found = replayed(server, turned)
    assert "over the golden answers the distributions are" in found.first_difference
    assert found.answer_kl_mean is not None and found.answer_kl_mean > 0.02


def test_cases_without_the_students_distributions_leave_the_answers_unknown(server, golden_cases):
    found = replayed(server, [replace(case, steps=[]) for case in golden_cases])
    assert found.passed and found.line()["answer_kl_mean"] is None


def test_an_end_token_that_does_not_end_an_answer_is_found(server, golden_cases):
    wrong = [replace(case, stop_ids=[*case.stop_ids, 40]) for case in golden_cases]
    assert "the end token 40" in replayed(server, wrong).first_difference


def test_another_prompt_or_other_ids_are_found_at_their_place(server, golden_cases):
    first, *rest = golden_cases
    text = replace(first, prompt=first.prompt.replace("helpful", "hopeful"))
    assert "prompt text differs at character" in replayed(server, [text, *rest]).first_difference
    ids = replace(first, token_ids=[*first.token_ids[:5], 99, *first.token_ids[6:]])
    assert "token ids differ at position 5" in replayed(server, [ids, *rest]).first_difference
