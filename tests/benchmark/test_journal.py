"""Raw rows survive a kill, and a run goes on only from rows of an equal one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.benchmark import journal
from edgedistill.benchmark.journal import Journal
from edgedistill.files import read_rows

RUN = {"where": "ssh://pi@board", "model_sha256": "abc", "threads": 4}


@pytest.fixture
def cut(tmp_path) -> Path:
    """A run with two requests that did not come to its end; the last line is half written."""
    to = tmp_path / "run.jsonl"
    begun = Journal(to, RUN)
    begun.add("request", phase="measured", prompt_ms=10.0)
    begun.add("request", phase="measured", prompt_ms=12.0)
    with begun.path.open("a") as file:
        file.write('{"kind": "request", "phase": "mea')
    return to


def test_a_cut_run_goes_on_with_its_whole_rows(cut):
    again = Journal(cut, RUN)
    assert again.resumed == 2 and [row["prompt_ms"] for row in again.of("request")] == [10.0, 12.0]
    again.add("request", phase="measured", prompt_ms=11.0)
    assert [row["prompt_ms"] for row in Journal(cut, RUN).of("request")] == [10.0, 12.0, 11.0]
    assert [row["kind"] for row in again.rows] == ["run", "request", "request", "again", "request"]


@pytest.mark.parametrize("change", [{"threads": 3}, {"model_sha256": "def"}, {"where": "ssh://pi@other"}, {"more": 1}])
def test_rows_of_another_run_are_not_taken_over(change, cut):
    assert Journal(cut, {**RUN, **change}).resumed == 0
    assert Journal(cut, RUN).resumed == 0  # they are gone: the other run has begun


def test_a_finished_run_stays_until_the_next_one_is_finished_too(cut):
    Journal(cut, RUN)
    journal.finish(cut)
    rows = cut.read_bytes()
    begun = Journal(cut, RUN)
    assert begun.of("request") == [] and cut.read_bytes() == rows
    begun.add("request", phase="measured", prompt_ms=9.0)
    journal.finish(cut)
    assert [row["prompt_ms"] for row in read_rows(cut) if row["kind"] == "request"] == [9.0]
    assert not journal.going(cut).exists()


def test_an_old_run_begins_anew(cut, monkeypatch):
    monkeypatch.setattr(journal, "KEPT_S", -1.0)
    assert Journal(cut, RUN).resumed == 0


def test_what_is_kept_is_told_without_what_is_made_again(cut):
    again = Journal(cut, RUN)
    assert again.told() == "2 requests"
    again.add("case", id="system")
    for _ in range(1202):
        again.add("request", phase="measured")
    again.add("request", phase="sustained")
    assert again.told() == "1,204 requests and 1 golden case"
    assert Journal(cut.with_name("other.jsonl"), RUN).told() == ""


def test_a_phase_can_be_begun_again(cut):
    again = Journal(cut, RUN)
    again.add("request", phase="sustained", prompt_ms=9.0)
    again.add("state", phase="sustained", up_s=1.0)
    again.drop(phase="sustained")
    assert [row["phase"] for row in again.of("request")] == ["measured", "measured"] and not again.of("state")
    assert Journal(cut, RUN).rows[:-1] == again.rows


def test_it_lies_beside_the_bundle_under_the_devices_name(tmp_path):
    bundle = tmp_path / "dist" / "quickstart-rpi5"
    place = tmp_path / "dist/quickstart-rpi5.bench"
    assert journal.place(bundle, "ssh://pi@board:2222") == place / "ssh-pi@board-2222.jsonl"
    assert journal.place(bundle, "local").name == "local.jsonl"
    assert journal.place(bundle, "local", is_quick=True).name == "local-quick.jsonl"
    assert journal.going(place / "ssh-pi@rpi5.local.jsonl") == place / "ssh-pi@rpi5.local.new.jsonl"
