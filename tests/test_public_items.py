"""Test items of a public benchmark, in place of a task's own."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from edgedistill import inputs, public_items, recipe, task
from edgedistill.errors import UsageError

FAMILIES = Path(__file__).resolve().parent.parent / "recipes" / "quickstart" / "families"


def bbh(folder: Path, name: str, *pairs: tuple[str, str]) -> Path:
    """A file in the layout of BIG-Bench-Hard."""
    folder.mkdir(exist_ok=True)
    examples = [{"input": question, "target": answer} for question, answer in pairs]
    (folder / name).write_text(json.dumps({"canary": "…", "examples": examples}))
    return folder


@pytest.fixture
def family(tmp_path):
    """A copy of a shipped family that may be changed."""
    return shutil.copytree(FAMILIES / "navigate", tmp_path / "navigate")


def test_items_of_the_public_file_replace_the_own_ones(family, tmp_path):
    public = bbh(tmp_path / "public", "navigate.json", ("q 1", "Yes"), ("q 2", "No"))
    found = task.load(family, test_items=public)
    assert [(i.id, i.question, i.answer) for i in found.test] == [
        ("navigate-0001", "q 1", "Yes"),
        ("navigate-0002", "q 2", "No"),
    ]
    assert len(task.load(family).test) == 100


def test_several_files_make_one_task(family, tmp_path):
    about = family / "task.yaml"
    about.write_text(about.read_text().replace("[navigate.json]", "[three.json, five.json]"))
    public = bbh(tmp_path / "public", "three.json", ("a", "1"), ("b", "2"))
    bbh(public, "five.json", ("c", "3"))
    assert [item.id for item in task.load(family, test_items=public).test] == ["three-0001", "three-0002", "five-0001"]


def test_a_file_in_the_tasks_own_form_is_read_too(family, tmp_path):
    about = family / "task.yaml"
    about.write_text(about.read_text().replace("public_test: [navigate.json]\n", ""))
    public = tmp_path / "public"
    public.mkdir()
    (public / "navigate.jsonl").write_text('{"id": "x", "question": "q", "answer": "Yes"}\n')
    assert [item.id for item in task.load(family, test_items=public).test] == ["x"]


def test_a_file_that_is_not_there_is_named_with_its_place(family, tmp_path):
    public = bbh(tmp_path / "public", "other.json", ("q", "a"))
    with pytest.raises(UsageError, match=re.escape(f"{public}/navigate.json does not exist")) as caught:
        task.load(family, test_items=public)
    assert "navigate.json" in caught.value.hint
    with pytest.raises(UsageError, match=r"folder .*nowhere does not exist"):
        task.load(family, test_items=tmp_path / "nowhere")


def test_every_task_without_its_file_is_told_at_once(tmp_path):
    made = recipe.load("bbh-mini")
    bbh(tmp_path / "public", "navigate.json", ("q", "Yes"))
    with pytest.raises(UsageError) as caught:
        inputs.open_all(made, test_items=tmp_path / "public")
    missing = set(re.findall(r"task `(\w+)`", caught.value.problem))
    assert missing == {Path(name).name for name in made.tasks} - {"navigate"}


def test_a_folder_that_is_not_there_is_told_once(tmp_path):
    with pytest.raises(UsageError) as caught:
        inputs.open_all(recipe.load("bbh-mini"), test_items=tmp_path / "nowhere")
    assert caught.value.problem == f"test items: folder {tmp_path / 'nowhere'} does not exist"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "empty"),
        ('{"canary": "x"}', "no list of `examples`"),
        ('{"examples": [{"input": "q", "target": "a"}, {"input": "q"}]}', "row 2: expected `input` and `target`"),
        ('{"examples": [{"input": "q", "target": 4}]}', "row 1: expected"),
        ('{"examples": ["q"]}', "row 1: expected"),
        ('{"examples": [{"id": "x", "input": "q", "target": "a"}, {"id": "x", "input": "r", "target": "a"}]}', "twice"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_row(tmp_path, text, told):
    path = tmp_path / "navigate.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(told)):
        public_items.read([path])


def test_other_test_items_are_another_identity(family, tmp_path):
    """Drafts are compared with the test items, so they belong to another set of them."""
    one = bbh(tmp_path / "one", "navigate.json", ("q", "Yes"))
    two = bbh(tmp_path / "two", "navigate.json", ("q", "No"))
    own, first, second = (task.load(family, test_items=folder).identity() for folder in (None, one, two))
    assert own != first != second
    (family / "test.jsonl").write_text('{"id": "1", "question": "new", "answer": "a"}\n')
    assert task.load(family, test_items=one).identity() == first, "the own test items are not used"


def test_a_name_that_is_a_path_is_refused(family):
    about = family / "task.yaml"
    about.write_text(about.read_text().replace("[navigate.json]", "[../navigate.json]"))
    with pytest.raises(UsageError, match=r"is not the name of a \.json or \.jsonl file"):
        task.load(family)


def test_the_public_files_have_the_surface_that_the_families_follow(shared):
    """Else the prompt would show a question in a form that nobody was trained on."""
    forms = {
        "boolean_expressions": r"(not |\( |\) |True |False |and |or )+is",
        "navigate": r"If you follow .* starting point\? (Always face forward\. )?((Take|Turn) [^.]*\. ?)+\n"
        r"Options:\n- Yes\n- No",
        "object_counting": r"I have .*, and [^,]*\. How many (\w+ )+do I have\?",
        "web_of_lies": r"Question: (\w+ [\w ]+\. )+Does \w+ tell the truth\?",
        "tracking_shuffled_objects": r"(?s)\w+, \w+, and \w+ are .*\nOptions:\n\(A\) .*\n\(B\) .*\n\(C\) .*",
    }
    tasks = [task.load(FAMILIES / name, test_items=shared / "data" / "bbh") for name in forms]
    assert {found.name: len(found.test) >= 125 for found in tasks} == dict.fromkeys(forms, True)
    for found in tasks:
        own = task.load(found.path).test
        for item in [*found.test, *own]:
            assert re.fullmatch(forms[found.name], item.question), item.question
        assert {item.answer for item in found.test} <= {item.answer for item in own} or found.name == "object_counting"


def test_a_question_that_the_teacher_copied_from_the_public_file_is_removed(tmp_path, family):
    """The same check that keeps a task's own test items out of drafts and training rows."""
    from edgedistill import drafting
    from edgedistill.sections import TailorConfig

    public = bbh(tmp_path / "public", "navigate.json", ("Is this public? ", "Yes"))
    found = task.load(family, test_items=public)

    class Teacher:
        def generate(self, asked, **_):
            copied = "<Question_4><input>is this  PUBLIC?</input><target>Yes</target></Question_4>"
            fresh = "<Question_5><input>Is this a new one, number {}?</input><target>No</target></Question_5>"
            return [copied + fresh.format(number) for number, _ in enumerate(asked)]

    counts: Counter[str] = Counter()
    config = TailorConfig(rows=4, near_duplicate=None)
    kept = drafting.write_questions(tmp_path / "shards", Teacher, found, 4, config, 1, counts, "a test", lambda n: None)
    assert len(kept) == 4 and not [question for question in kept if "PUBLIC" in question.question]
    assert sum(count for name, count in counts.items() if "duplicate_of_test" in name) >= 1
