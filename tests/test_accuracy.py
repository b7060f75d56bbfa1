"""What is made of answers: pairs, ways of answering, and what decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill import accuracy, in_grammar, multiple_choice, task
from edgedistill.accuracy import Taken
from edgedistill.files import write_rows
from edgedistill.task import Task


@pytest.fixture
def yes_no(tmp_path) -> Task:
    """Four test items with listed options, and two open ones."""
    (tmp_path / "task.yaml").write_text(
        "kind: tagged_answer\ntitle: t\ndescription: Say.\nlicence: x\ngrammar: answer.gbnf\n"
    )
    (tmp_path / "answer.gbnf").write_text('root ::= "<ans>" [a-z]+ "</ans>"')
    for part in ("seeds", "validation"):
        rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": f"{part}{n}"} for n in range(4)]
        write_rows(tmp_path / f"{part}.jsonl", rows)
    listed = [{"id": f"l{n}", "question": f"{n}?\n- yes\n- no", "answer": "yes" if n % 2 else "no"} for n in range(4)]
    free = [{"id": f"f{n}", "question": f"{n}.", "answer": "word"} for n in range(2)]
    write_rows(tmp_path / "test.jsonl", [*listed, *free])
    return task.load(tmp_path)


class Likes:
    """An engine that finds an option as likely as a table says. It proves what is asked and counted, no model."""

    def __init__(self, sums: dict[str, float]) -> None:
        self.sums, self.asked = sums, list[str]()

    def answer_log_probs(self, conversations: Any, answers: Any, *, on_done: Any = None) -> list[list[float]]:
        self.asked += answers
        return [[self.sums[answer] / 2] * 2 for answer in answers]


def rows_of(given: list[str]) -> list[dict[str, Any]]:
    return [
        {"task": "t", "id": f"{n}", "expected": "yes", "given": text, "right": text == "yes", "text": text}
        for n, text in enumerate(given)
    ]


def test_the_likeliest_option_is_the_choice_and_open_questions_have_none(yes_no, tmp_path):
    questions = accuracy.of([yes_no], 8)
    rows = multiple_choice.choose(tmp_path, "m", Likes({"<ans>yes</ans>": -1.0, "<ans>no</ans>": -2.0}), questions)
    assert rows is not None
    assert [row["given"] for row in rows] == ["yes"] * 4
    assert [row["right"] for row in rows] == [False, True, False, True]
    assert multiple_choice.choose(tmp_path, "m", Likes({}), questions) == rows, "a rerun asks nothing"


def test_a_tie_between_options_is_no_knowledge(yes_no, tmp_path):
    rows = multiple_choice.choose(
        tmp_path, "m", Likes({"<ans>yes</ans>": -1.0, "<ans>no</ans>": -1.0}), accuracy.of([yes_no], 8)
    )
    assert rows is not None and not any(row["right"] for row in rows)


class Writes:
    """A runtime whose grammar knows two words. It proves who is asked again."""

    def __init__(self) -> None:
        self.asked = list[Any]()

    def keeps_to(self, grammar: str, texts: Any) -> list[bool]:
        assert grammar.startswith("root")
        return [text == "<ans>kept</ans>" for text in texts]

    def generate_within(self, grammar: str, conversations: Any, *, max_tokens: int, on_done: Any) -> list[str]:
        self.asked += conversations
        return ["<ans>word</ans>" for _ in conversations]


def test_only_answers_beside_the_grammar_are_asked_for_again(yes_no, tmp_path):
    questions, engine = accuracy.of([yes_no], 8), Writes()
    texts = ["<ans>kept</ans>"] * 3 + ["rambling"] * 3
    free = [accuracy.graded(one, item, text) for (one, item), text in zip(questions.items, texts, strict=True)]
    rows = in_grammar.answer(tmp_path, "m", engine, questions, free)
    assert rows is not None
    assert [row["given"] for row in rows] == ["kept"] * 3 + ["word"] * 3
    assert [row["right"] for row in rows] == [False] * 4 + [True] * 2
    assert engine.asked == questions.conversations[3:]
    assert in_grammar.answer(tmp_path, "other", object(), questions, free) is None, "a runtime without grammars"


def test_a_candidate_is_paired_with_the_float_student_on_every_figure(yes_no):
    """20 items: 15 right before; 2 of these are lost and 1 is gained, so 14 are right after: a drop of 0.05."""
    before, after = rows_of(["yes"] * 15 + ["no"] * 5), rows_of(["no"] * 2 + ["yes"] * 14 + ["nope"] * 4)
    fake = Path(yes_no.path)
    named = [{**row, "task": fake.name} for row in before], [{**row, "task": fake.name} for row in after]
    line = accuracy.candidate_line(Taken(named[0]), Taken(named[1]), [yes_no], "generation")
    assert (line["value"], line["n"], line["lost"], line["gained"]) == (0.7, 20, 2, 1)
    assert line["drop"] == pytest.approx(0.05)
    assert line["drop_ci_low"] < 0.05 < line["drop_ci_high"]
    assert line["bootstrap_low"] < 0.05 < line["bootstrap_high"]
    assert accuracy.worst_drop(line) == max(line["drop_ci_high"], line["bootstrap_high"])
    assert line["mcnemar_p"] == 1.0
    # (2 x 2 + 14 x 3 + 4 x 4) / (15 x 3 + 5 x 2) characters
    assert line["length_ratio"] == pytest.approx(62 / 55, abs=1e-4)
    assert line["ways"].keys() == {"generation"}


def test_the_recipe_says_whether_written_answers_or_options_decide():
    written, chosen = rows_of(["no", "no", "no"]), rows_of(["yes", "yes"])
    taken = Taken(written, chosen)
    assert [row["right"] for row in taken.deciding("generation")] == [False] * 3
    assert [row["right"] for row in taken.deciding("likelihood")] == [True, True, False]
    assert Taken(written).deciding("likelihood") == written
