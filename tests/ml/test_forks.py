"""What is fed and asked for prompts with several answers, by hand."""

from __future__ import annotations

from edgedistill.engine import user
from edgedistill.ml.forks import each_once, forks


def test_answers_of_one_prompt_are_gathered():
    found = forks([[1, 2], [3], [1, 2]], [[7], [8], [9]])
    assert [(fork.prompt, fork.answers, fork.numbers) for fork in found] == [
        ((1, 2), ([7], [9]), (0, 2)),
        ((3,), ([8],), (1,)),
    ]


def test_a_common_start_is_fed_once():
    """Answers 5 6 7 8 and 5 6 9: fed are the prompt's 1 2, the common 5 6, and 7. Token 5 is asked after 2, 6 after 5,
    both 7 and 9 after 6, and 8 after 7."""
    (fork,) = forks([[1, 2], [1, 2]], [[5, 6, 7, 8], [5, 6, 9]])
    assert (fork.common, list(fork.trunk), fork.branches, fork.size, fork.tail) == (2, [1, 2, 5, 6], [[7], []], 5, 4)
    assert list(fork.asked()) == [(0, 5), (1, 6), (2, 7), (3, 8), (0, 5), (1, 6), (2, 9)]


def test_every_answer_keeps_a_token_of_its_own():
    """5 is the beginning of 5 6: both are asked after the prompt. An empty answer asks for nothing."""
    (fork,) = forks([[1], [1], [1]], [[5], [5, 6], []])
    assert (fork.common, fork.branches, fork.tail) == (0, [[], [5], []], 2)
    assert list(fork.asked()) == [(0, 5), (0, 5), (1, 6)]


def test_one_answer_is_fed_but_for_its_last_token():
    (fork,) = forks([[1]], [[5, 6, 7]])
    assert (list(fork.trunk), fork.branches, fork.size, fork.tail) == ([1, 5, 6], [[]], 3, 3)
    assert list(fork.asked()) == [(0, 5), (1, 6), (2, 7)]


def test_a_conversation_that_comes_twice_is_tokenized_once():
    seen = []

    def ids(conversations):
        seen.extend(conversations)
        return [[len(messages[0]["content"])] for messages in conversations]

    assert each_once([user("a"), user("bb"), user("a")], ids) == [[1], [2], [1]]
    assert seen == [user("a"), user("bb")]
    assert each_once([], ids) == []
