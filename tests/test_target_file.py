"""Targets: facts with sources, and mistakes told all at once."""

from __future__ import annotations

import pytest

from edgedistill import target
from edgedistill.errors import UsageError
from edgedistill.recipe import Budgets

WHOLE = """
title: a board
soc: two cores
triple: aarch64-linux-musl
cpu: cortex_a76
read_gb_s: {value: 9.5, source: "https://example.org/board"}
budgets: {decode_tok_s: 8, accuracy_drop: 0.02}
"""


def load(folder, text):
    path = folder / "board.yaml"
    path.write_text(text)
    return target.load(str(path))


def test_a_whole_target(tmp_path):
    made = load(tmp_path, WHOLE)
    assert (made.name, made.read_gb_s.value, made.budgets.decode_tok_s) == ("board", 9.5, 8)
    assert (made.address, made.default_recipe, made.formats) == (None, "quickstart", ("gguf",))


def test_every_problem_comes_in_one_message(tmp_path):
    text = WHOLE.replace('source: "https', 'sorce: "https').replace("decode_tok_s: 8", "decode: 8").replace("9.5", "0")
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text + "threads: 0\nram: 3\n")
    assert caught.value.problem.splitlines() == [
        "target `board` has 6 problems",
        "  threads: should be greater than or equal to 1, got 0",
        "  read_gb_s.value: should be greater than 0, got 0",
        "  read_gb_s.source: missing",
        "  read_gb_s.sorce: unknown key, did you mean `source`?",
        "  budgets.decode: unknown key, did you mean `decode_tok_s`?",
        "  ram: unknown key, did you mean `ram_mib`?",
    ]


def test_cores_and_instructions_say_where_they_come_from(tmp_path):
    text = WHOLE + "cores: [{type: Cortex-A76, count: 4, ghz: 2.4}]\nisa: {features: []}\n"
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert "cores.0.source: missing" in caught.value.problem
    assert "isa.features: " in caught.value.problem and "isa.source: missing" in caught.value.problem


def test_a_number_without_a_source_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"read_gb_s: should be a section of keys and values, got 9\.5"):
        load(tmp_path, WHOLE.replace('{value: 9.5, source: "https://example.org/board"}', "9.5"))
    with pytest.raises(UsageError, match=r"read_gb_s\.source"):
        load(tmp_path, WHOLE.replace('"https://example.org/board"', '""'))


def test_limits_of_the_recipe_replace_those_of_the_target_one_by_one():
    merged = Budgets(decode_tok_s=8, accuracy_drop=0.02).replaced_by(Budgets(accuracy_drop=0.05, memory_mib=100))
    assert merged == Budgets(decode_tok_s=8, accuracy_drop=0.05, memory_mib=100)


def test_default_recipe_does_not_change_what_is_built(tmp_path):
    assert load(tmp_path, WHOLE).identity() == load(tmp_path, WHOLE + "default_recipe: other\n").identity()


def test_the_name_is_that_of_the_file(tmp_path):
    with pytest.raises(UsageError, match="name: comes from where the file lies; leave it out"):
        load(tmp_path, WHOLE + "name: other\n")


def test_doubts_are_told_and_do_not_stop(tmp_path):
    text = (
        WHOLE
        + """
threads: 8
cores: [{type: Cortex-A76, count: 4, ghz: 2.4, source: "https://example.org"}]
ram_mib: {value: 1000, source: hearsay}
usable_ram_mib: {value: 1000, source: "measured by free, 2026-11-21"}
peak_gb_s: {value: 5, source: "https://example.org"}
copy_gb_s: {value: 6, source: "https://example.org"}
"""
    )
    assert target.doubts(load(tmp_path, text)) == [
        "ram_mib: its source is neither an address nor `measured by …, date`",
        "usable_ram_mib: as much as the whole memory; a system takes some of it",
        "copy_gb_s: more than the theoretical peak_gb_s",
        "threads: 8, but 4 big cores",
    ]
    bare = target.Target(title="t", soc="t", triple="t", cpu="t")
    assert target.doubts(bare) == ["without cores, and peak_gb_s or copy_gb_s, its speed is not predicted"]
    there = target.Target(title="t", soc="t", triple="aarch64-linux-musl", cpu="native", address="ssh://pi@desk")
    assert target.doubts(there) == [
        "cpu: `native` goes with `triple: native` alone; write the compiler's name, e.g. cortex_a76"
    ]
