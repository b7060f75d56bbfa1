"""Running text: what is read, and what a candidate's reading beside it comes to. Expected values by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgedistill import perplexity
from edgedistill.errors import UsageError
from edgedistill.sections import TextConfig

V = 6


class Letters:
    """A model of six letters, one token each; it foretells every next letter with the same shares."""

    context = 1000

    def __init__(self, shares: Sequence[float], begin: Sequence[int] = (), shifted: int = 0) -> None:
        self.log_probs, self.begin, self.shifted = np.log(np.array(shares, np.float32)), list(begin), shifted

    def as_read(self, text: str) -> str:
        return text.strip()

    def text_ids(self, text: str) -> list[int]:
        return [(ord(letter) - ord("a") + self.shifted) % V for letter in text]

    def begin_ids(self) -> list[int]:
        return self.begin

    def next_log_probs(self, ids: Sequence[int]) -> Any:
        return np.tile(self.log_probs, (len(ids), 1))


HALF_A = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
QUARTER_A = [0.25, 0.15, 0.15, 0.15, 0.15, 0.15]


def text(tmp_path, content: str = "aab" * 100, name: str = "text.txt", **config: Any) -> perplexity.Text:
    (tmp_path / name).write_text(content)
    return perplexity.open_text(TextConfig(file=name, **config), tmp_path)


def test_perplexity_by_hand(tmp_path):
    """Two a and one b in turn, and the first letter of each window is not scored without a begin token: of windows of
    63 letters 41 a and 21 b are; of 300 letters there are four whole windows, and one of 48 with 31 a and 16 b."""
    found = perplexity.read(text(tmp_path, window=64), Letters(HALF_A), 500)
    assert [len(window) for window in found.windows] == [63, 63, 63, 63, 48]
    a, b = 4 * 41 + 31, 4 * 21 + 16
    assert len(found.nll) == a + b
    assert found.perplexity == pytest.approx(math.exp((a * math.log(2) + b * math.log(10)) / (a + b)), rel=1e-6)


def test_behind_a_begin_token_every_letter_is_scored(tmp_path):
    found = perplexity.read(text(tmp_path, window=64), Letters(HALF_A, begin=[5]), 500)
    assert found.windows[0][:3] == [5, 0, 0]
    assert len(found.nll) == 300


def test_another_model_is_further_away_by_hand(tmp_path):
    """KL = 0.5 ln(0.5/0.25) + 5 x 0.1 ln(0.1/0.15) = 0.1438; a costs ln 2 more, b ln 1.5 less."""
    letters = text(tmp_path, "a" * 200 + "b" * 100, window=64)
    line = perplexity.line(perplexity.read(letters, Letters(HALF_A, begin=[5]), 500), Letters(QUARTER_A))
    assert line["kl_mean"] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-5)
    assert line["ratio"] == pytest.approx(math.exp((2 * math.log(2) - math.log(1.5)) / 3), rel=1e-4)
    assert line["ratio_ci_low"] < line["ratio"] < line["ratio_ci_high"]
    assert line["tokens"] == 300 and line["same_top1"] == 1.0
    assert ["perplexity may be" in problem for problem in line["problems"]] == [True, False]
    assert "mean KL on the text is 0.1438 nats, the limit is 0.1" in line["problems"][1]


def test_the_same_model_keeps_every_limit(tmp_path):
    read = perplexity.read(text(tmp_path), Letters(HALF_A), 500)
    line = perplexity.line(read, Letters(HALF_A))
    assert (line["ratio"], line["kl_mean"], line["problems"]) == (1.0, 0.0, [])


def test_other_token_ids_of_the_text_are_a_problem(tmp_path):
    read = perplexity.read(text(tmp_path), Letters(HALF_A), 500)
    problem = perplexity.ids_difference(read, Letters(HALF_A, shifted=1))
    assert problem.startswith("text: token ids differ at position 0 of a document that begins 'aabaab")
    assert perplexity.ids_difference(read, Letters(HALF_A)) == ""


def test_a_file_that_gives_no_numbers_is_far_away_and_still_has_figures(tmp_path):
    """60 nats per token is the most that one can cost; exp of more would be no number."""
    read = perplexity.read(text(tmp_path), Letters(HALF_A), 500)
    line = perplexity.line(read, Letters([math.nan] * V))
    assert line["perplexity"] == pytest.approx(math.exp(60), rel=1e-6)
    assert len(line["problems"]) == 2 and math.isfinite(line["kl_mean"]) and line["kl_mean"] > 10


def test_rows_are_documents_and_the_text_ends_where_it_was_asked_to(tmp_path):
    rows = "\n".join(f'{{"text": "{letter * 100}"}}' for letter in "abc")
    found = perplexity.read(text(tmp_path, rows, "rows.jsonl", tokens=150), Letters(HALF_A), 500)
    assert [(window[0], len(window)) for window in found.windows] == [(0, 100), (1, 50)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.txt", None, "does not exist"),
        ("empty.txt", " \n", "holds no text"),
        ("rows.jsonl", '{"words": "a"}', "cannot be read"),
        ("rows.jsonl", "a", "cannot be read"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=says):
        perplexity.open_text(TextConfig(file=name), tmp_path)


def test_too_short_a_text_is_named(tmp_path):
    with pytest.raises(UsageError, match="fewer than 8 tokens"):
        perplexity.read(text(tmp_path, "abc"), Letters(HALF_A), 500)


def test_the_built_in_text_is_there_and_long_enough():
    documents = perplexity.open_text(TextConfig(), perplexity.BUILT_IN.parent).documents()
    assert len(documents) == 1 and len(documents[0].split()) > 900
