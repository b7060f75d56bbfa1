"""What is shown of a file that goes to a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.devices.push import sending


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(3000))
    return path


def test_a_file_that_is_there_already_shows_no_bar(file, capsys):
    with sending(file) as advance:
        advance(3000)
    assert capsys.readouterr().err == ""


def test_a_bar_begins_with_what_was_there_when_the_first_byte_is_sent(file, capsys):
    with sending(file) as advance:
        for count in (1000, 0):
            advance(count)
        assert capsys.readouterr().err == ""
        advance(500)
    assert capsys.readouterr().err == "  push model.gguf, bytes  1,000/3,000\n"
