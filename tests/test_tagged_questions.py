"""Tagged questions read back from what teachers write."""

from __future__ import annotations

import time

import pytest

from edgedistill.prompts import question_block
from edgedistill.tagged_questions import parse

WHOLE = "<Question_4><input>is it</input><target>yes</target></Question_4>"


def outcome(text, **how):
    parsed = parse(text, **how)
    return parsed.pairs, parsed.repaired, parsed.malformed


def test_the_form_of_the_prompt_needs_no_repair():
    blocks = [question_block(number, f"q {number}", f"a {number}") for number in (4, 5, 6)]
    assert outcome("\n".join(blocks)) == ([("q 4", "a 4"), ("q 5", "a 5"), ("q 6", "a 6")], 0, 0)
    spaced = "Here you are:\n\n<Question_12>\n  <input>\nq 1,\nq 2\n</input>\n<target> a </target>\n</Question_12>\nBye"
    assert outcome(spaced) == ([("q 1,\nq 2", "a")], 0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "<Question 4><input>is it</input><target>yes</target></Question 4>",
        "<question_4><INPUT>is it</Input><Target>yes</TARGET></QUESTION_4>",
        "<Question_x><input>is it</input><target>yes</target></Question_x>",
        "<Question #4>\n<input>is it</input>\n<target>yes</target>\n</Question>",
        '<question id="4"><input>is it</input><target>yes</target></question>',
        "<Question_4 ><input >is it</ input>< target>yes</target ></Question_4>",
        "<Question_4><input>is it</input><target>yes</target>",
        "<Question_4><input>is it<target>yes</target></Question_4>",
        "<Question_4><input>is it</input><target>yes</Question_4>",
        "<input>is it</input><target>yes</target>",
        "<Question_4>**Question 4**<input>is it</input><target>yes</target></Question_4>",
        "<Question_4><input>is it</input>\nThe answer:\n<target>yes</target></Question_4>",
        "&lt;Question_4&gt;&lt;input&gt;is it&lt;/input&gt;&lt;target&gt;yes&lt;/target&gt;&lt;/Question_4&gt;",
    ],
)
def test_what_can_only_mean_one_thing_is_repaired_and_counted(text):
    assert outcome(text) == ([("is it", "yes")], 1, 0)
    assert outcome(f"{WHOLE}\n{text}\n{WHOLE}" if "&lt;" not in text else text)[2] == 0


def test_a_markdown_fence_around_all_is_not_part_of_a_question():
    assert outcome(f"Sure!\n```xml\n{WHOLE}\n```\nShall I go on?") == ([("is it", "yes")], 0, 0)


def test_a_forgotten_closing_tag_does_not_swallow_the_next_question():
    text = "<Question_4><input>a</input><target>1</target>\n<Question_5><input>b</input><target>2\n" + WHOLE
    assert outcome(text) == ([("a", "1"), ("b", "2"), ("is it", "yes")], 2, 0)
    bare = "<input>a</input><target>1</target>\n<input>b</input><target>2</target>"
    assert outcome(bare) == ([("a", "1"), ("b", "2")], 2, 0)


@pytest.mark.parametrize(
    "text",
    [
        "<Question_4><input>is it</input></Question_4>",
        "<Question_4><target>yes</target></Question_4>",
        "<Question_4><input></input><target>yes</target></Question_4>",
        "<Question_4><input>...</input><target>...</target></Question_4>",
        "<Question_4><target>yes</target><input>is it</input></Question_4>",
        "<Question_4><input>is it</input><target>ye",
        "<Question_4><input>is i",
        "<Question_4>is it? yes</Question_4>",
        "<Question_4><input>a</input><input>b</input><target>yes</target></Question_4>",
    ],
)
def test_blocks_that_are_cut_off_or_leave_a_choice_are_malformed(text):
    assert outcome(f"{WHOLE}{text}") == ([("is it", "yes")], 0, 1)


@pytest.mark.parametrize(
    "text", ["", "no tags at all", "1 < 2 > 0", "<p>is it</p>", "</Question_3>", "<questionnaire>"]
)
def test_other_text_holds_no_question(text):
    assert outcome(text) == ([], 0, 0)


def test_signs_that_are_no_tags_stay():
    text = '<Question_4><input>is 3 < 4 and <b> > 1</input><target>{"a": "<x>"}</target></Question_4>'
    assert outcome(text) == ([("is 3 < 4 and <b> > 1", '{"a": "<x>"}')], 0, 0)


def test_entities_are_signs_unless_the_task_writes_entities():
    text = "<Question_4><input>is 3 &lt; 4 &amp;&amp; 1?</input><target>&quot;yes&quot;</target></Question_4>"
    assert outcome(text) == ([("is 3 < 4 && 1?", '"yes"')], 1, 0)
    assert outcome(text, has_entities=True) == ([("is 3 &lt; 4 &amp;&amp; 1?", "&quot;yes&quot;")], 0, 0)
    assert outcome("<Question_4><input>&amp;lt;</input><target>a</target></Question_4>")[0] == [("&lt;", "a")]


@pytest.mark.parametrize(
    "piece",
    ["<", "< ", "<Question_1>", "<input>", "</", "<question " + "x" * 30, "<input><target>", WHOLE, " ", "&lt;"],
)
@pytest.mark.timeout(30)
def test_long_answers_take_linear_time(piece):
    """200 kB of what could make a pattern or a list be gone through again and again; quadratic would be minutes."""
    text = piece * (200_000 // len(piece))
    begun = time.process_time()
    parse(text)
    assert time.process_time() - begun < 5
