"""Answers within a grammar, of a model with random weights: it would never keep to one by itself."""

from __future__ import annotations

import re

import pytest

from edgedistill.engine import user
from edgedistill.engines import llama
from edgedistill.errors import UsageError

SAID = [user(text) for text in ("hello", "turn off the light", "Grüße", "yes " * 20)]
ANSWER = 'root ::= "<ans>" ("yes" | "no" | "né") "</ans>"'
"""The last one begins like the second and has a letter of two bytes, which are two tokens."""


@pytest.fixture(scope="module")
def engine(tiny_candidates):
    with llama.open_file(tiny_candidates.path / "model-f16.gguf", context=512, threads=1) as opened:
        yield opened


def test_every_answer_is_one_of_the_grammar_and_ends(engine):
    done = []
    answers = engine.generate_within(ANSWER, SAID, max_tokens=40, on_done=done.append)
    assert all(re.fullmatch("<ans>(yes|no|né)</ans>", answer) for answer in answers)
    assert sum(done) == len(SAID)
    assert not any(engine.keeps_to(ANSWER, engine.generate(SAID, max_tokens=40)))


def test_where_the_grammar_leaves_a_choice_the_likelier_token_is_taken(engine):
    """One letter each, so one token decides."""
    letters = ("a", "b", "q", "x", "Z", "7")
    answers = engine.generate_within(f"root ::= [{''.join(letters)}]", SAID, max_tokens=8)
    ids = [engine._weights.tokenize(letter, add_special=False) for letter in letters]
    assert all(len(one) == 1 for one in ids)
    for messages, answer in zip(SAID, answers, strict=True):
        log_probs = engine.first_token_log_probs([messages])[0]
        assert answer == max(letters, key=lambda letter: log_probs[ids[letters.index(letter)][0]])


def test_a_grammar_that_allows_everything_changes_nothing(engine):
    """Everything but bytes that are no text, which random weights write early and often."""
    said = [user(f"say {n}") for n in range(24)]
    free, within = (engine.generate(said, max_tokens=4), engine.generate_within("root ::= .*", said, max_tokens=4))
    texts = [n for n, text in enumerate(free) if "\ufffd" not in text and "\0" not in text]
    assert texts and [free[n] for n in texts] == [within[n] for n in texts]


def test_a_text_keeps_to_a_grammar_only_when_it_is_whole(engine):
    texts = ["<ans>yes</ans>", "<ans>né</ans>", "<ans>yes</ans> ", "<ans>ye", "", "no"]
    assert engine.keeps_to(ANSWER, texts) == [True, True, False, False, False, False]


def test_an_answer_that_has_no_room_is_cut(engine):
    assert engine.generate_within('root ::= "aaaaaaaaaaaaaaaa"', SAID[:1], max_tokens=3)[0] in ("aaa", "aaaaaa", "aa")


def test_a_text_that_is_no_grammar_is_refused(engine, capfd):
    with pytest.raises(UsageError, match="cannot read the task's grammar"):
        engine.generate_within("root ::= missing", SAID[:1], max_tokens=3)
    capfd.readouterr()
