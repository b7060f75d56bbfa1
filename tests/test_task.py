"""Task folders: whole ones load, every problem of the others is told at once."""

from __future__ import annotations

import json

import pytest

from edgedistill import task
from edgedistill.errors import UsageError

INFO = "kind: json_action\ntitle: home\ndescription: Turn the command into JSON.\nlicence: Apache-2.0\n"


def rows(count, **more):
    return [
        {"id": f"{n}", "question": f"q {n}", "answer": json.dumps({"intent": f"a {n}"}), **more} for n in range(count)
    ]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "home"
    made.mkdir()
    (made / "task.yaml").write_text(INFO)
    write(made / "seeds.jsonl", rows(3, rationale="because <ans>a</ans>"))
    write(made / "validation.jsonl", rows(5))
    write(made / "test.jsonl", rows(4))
    return made


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_whole_task(folder):
    made = task.load(folder)
    assert (made.name, len(made.seeds), len(made.validation), len(made.test)) == ("home", 3, 5, 4)
    assert made.seeds[0].rationale == "because <ans>a</ans>"
    assert made.grammar is None
    assert made.grader.VERSION >= 1


def test_an_answer_that_can_never_be_right_is_found_before_the_build(folder):
    write(folder / "test.jsonl", [*rows(2), {"id": "2", "question": "q", "answer": "lights on"}])
    with pytest.raises(UsageError, match=r"test\.jsonl row 3: no answer for `json_action`: 'lights on'"):
        task.load(folder)


def test_a_broken_line_is_named_by_its_number(folder):
    with (folder / "test.jsonl").open("a") as file:
        file.write('\n{"id": "9" "question"}\n')
    with pytest.raises(
        UsageError, match=r"test\.jsonl: not JSON Lines: line 6: Expecting ',' delimiter at character 12"
    ):
        task.load(folder)


def test_every_problem_comes_in_one_message(folder):
    write(folder / "validation.jsonl", [*rows(2), rows(1)[0], {"id": "x", "question": "q"}, {"id": 3}, ["list"]])
    (folder / "test.jsonl").unlink()
    (folder / "seeds.jsonl").write_text("")
    (folder / "task.yaml").write_text(INFO + "grammar: answer.gbnf\n")
    with pytest.raises(UsageError) as caught:
        task.load(folder)
    found = caught.value.problem
    assert "has 7 problems" in found
    for line in (
        "seeds.jsonl: empty",
        "validation.jsonl row 3: id `0` is used twice",
        "validation.jsonl row 4: keys ['id', 'question'], expected id, question, answer",
        "validation.jsonl row 5: expected an object whose values are text",
        "validation.jsonl row 6: expected an object whose values are text",
        "test.jsonl: missing",
        "answer.gbnf: missing, named by task.yaml",
    ):
        assert line in found


def test_many_problems_are_cut_short_but_counted(folder):
    write(folder / "test.jsonl", [{"id": str(n)} for n in range(50)])
    with pytest.raises(UsageError, match=r"has 50 problems[\s\S]*and 30 more"):
        task.load(folder)


def test_two_seeds_are_too_few(folder):
    write(folder / "seeds.jsonl", rows(2))
    with pytest.raises(UsageError, match="2 seeds, at least 3 are needed"):
        task.load(folder)


def test_an_unlabelled_item_is_refused(folder):
    write(folder / "validation.jsonl", [*rows(2), {"id": "x", "question": "q", "answer": " "}])
    with pytest.raises(UsageError, match=r"validation\.jsonl row 3: no answer; every item needs its label"):
        task.load(folder)


def test_broken_json_is_named_with_its_file(folder):
    (folder / "test.jsonl").write_text('{"id": "1", "question"')
    with pytest.raises(UsageError, match=r"test\.jsonl: not JSON Lines"):
        task.load(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"PK\x03\x04"])
def test_bytes_that_are_not_text(folder, content):
    (folder / "test.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=r"test\.jsonl"):
        task.load(folder)


def test_a_folder_without_task_yaml(tmp_path):
    with pytest.raises(UsageError, match=r"has no task\.yaml"):
        task.load(tmp_path)


def test_unknown_kind_lists_those_there_are(folder):
    (folder / "task.yaml").write_text(INFO.replace("json_action", "json_acton"))
    with pytest.raises(UsageError, match=r"no task named `json_acton`.*did you mean `json_action`"):
        task.load(folder)


def test_identity_follows_the_content_and_not_the_place(folder, tmp_path):
    before = task.load(folder).identity()
    moved = tmp_path / "elsewhere" / "home"
    moved.parent.mkdir()
    folder.rename(moved)
    assert task.load(moved).identity() == before
    write(moved / "test.jsonl", rows(6))
    assert task.load(moved).identity() != before


def test_identity_covers_licence_texts_and_a_grammar_of_any_name(folder):
    (folder / "task.yaml").write_text(INFO + "grammar: rules/answer.txt\n")
    (folder / "rules").mkdir()
    for name in ("LICENSE.md", "rules/answer.txt"):
        (folder / name).write_text("before")
    before = task.load(folder).identity()["files"]
    for name in ("LICENSE.md", "rules/answer.txt"):
        (folder / name).write_text("after")
    after = task.load(folder).identity()["files"]
    assert {name for name in before if before[name] != after[name]} == {"LICENSE.md", "rules/answer.txt"}


@pytest.mark.parametrize("place", ["../answer.gbnf", "rules/../../answer.gbnf", "/answer.gbnf"])
def test_a_grammar_outside_the_folder_is_refused(folder, place):
    (folder.parent / "answer.gbnf").write_text("root ::= [a-z]")
    (folder / "task.yaml").write_text(INFO + f"grammar: {place}\n")
    with pytest.raises(UsageError, match="is outside the task's folder"):
        task.load(folder)


def test_questions_that_differ_in_case_and_spacing_are_the_same():
    assert task.fold("Turn  on\nthe Light ") == task.fold("turn on the light")
    assert task.fold("turn on the lights") != task.fold("turn on the light")
