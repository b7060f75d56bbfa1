"""Answers are on disk as soon as they are there, and a row that a kill cut short is asked again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from edgedistill import shards
from edgedistill.answered import Answered
from edgedistill.errors import StageFailed
from edgedistill.models import Model
from edgedistill.sections import ModelConfig

ASKED = {"messages": [{"role": "user", "content": "Grüße"}], "seed": 3}


def test_an_answer_is_found_by_the_next_run(tmp_path):
    Answered(tmp_path / "new" / "answered.jsonl").keep(ASKED, "Hallo\nline  two")
    again = Answered(tmp_path / "new" / "answered.jsonl")
    assert again.find(dict(reversed(ASKED.items()))) == "Hallo\nline  two"
    assert again.find({**ASKED, "seed": 4}) is None


def test_a_row_that_was_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "answered.jsonl"
    Answered(path).keep({"n": 1}, "one")
    Answered(path).keep({"n": 2}, "two")
    path.write_bytes(path.read_bytes()[:-4])
    broken = Answered(path)
    assert (broken.find({"n": 1}), broken.find({"n": 2})) == ("one", None)
    broken.keep({"n": 3}, "three")
    assert Answered(path).find({"n": 3}) == "three"


def test_many_threads_keep_all(tmp_path):
    kept = Answered(tmp_path / "answered.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: kept.keep({"n": n}, str(n)), range(200)))
    again = Answered(tmp_path / "answered.jsonl")
    assert all(again.find({"n": n}) == str(n) for n in range(200))


def test_without_a_path_nothing_is_kept():
    nowhere = Answered(None)
    nowhere.keep(ASKED, "text")
    assert nowhere.find(ASKED) is None


def test_the_file_stays_after_a_failure_and_goes_when_the_stage_is_through(tmp_path):
    config = ModelConfig(model="m", engine="openai", base_url="http://127.0.0.1:9/v1")
    model = Model(tmp_path, "m", "openai", server=config)
    file = tmp_path / shards.ANSWERED
    file.write_text("{}")
    with pytest.raises(StageFailed), shards.on_demand(model, tmp_path):
        raise StageFailed("broken")
    assert file.is_file()
    with shards.on_demand(model, tmp_path):
        pass
    assert not file.exists()
