"""Where the environment lies and when it counts as made. Making it takes minutes and a package index: see
tests/exporters/test_onnx_optimum.py, which runs where it was made."""

from __future__ import annotations

import json

import pytest

from edgedistill.commands import toolchain
from edgedistill.errors import EdgeDistillError, UsageError
from edgedistill.toolchain import optimum


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_other_pins_are_another_environment(cache, monkeypatch):
    before = optimum.folder()
    assert before.parent == cache / "edgedistill" and before.name.startswith("optimum-")
    monkeypatch.setattr(optimum, "PINS", (*optimum.PINS[1:], "optimum-onnx==0.2.0"))
    assert optimum.folder() != before


def test_an_environment_counts_only_when_it_is_whole():
    optimum.folder().mkdir(parents=True)
    with pytest.raises(UsageError, match="not there yet"):
        optimum.python()
    (optimum.folder() / "complete").touch()
    assert optimum.python().is_relative_to(optimum.folder())
    assert optimum.install() == optimum.folder(), "nothing is fetched"


def test_what_pip_says_is_passed_on_and_nothing_counts_as_made(monkeypatch):
    monkeypatch.setattr(optimum, "PINS", ("no such requirement!",))
    monkeypatch.setattr("venv.create", lambda folder, with_pip: _own_pip(folder))
    with pytest.raises(EdgeDistillError, match="Invalid requirement"):
        optimum.install()
    with pytest.raises(UsageError):
        optimum.python()


def _own_pip(folder) -> None:
    """An environment with this one's interpreter, since making pip anew takes seconds."""
    import sys

    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)


def test_the_command_tells_what_is_here(capsys):
    assert toolchain.list_all(as_json=True) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["is_here"] for row in listed["tools"]} == dict.fromkeys(toolchain.TOOLS, False)
    assert set(toolchain.TOOLS) == {"converter", "compilers", "optimum"} and listed["runtimes"] == []
    optimum.folder().mkdir(parents=True)
    (optimum.folder() / "complete").touch()
    assert toolchain.install(("optimum",)) == 0
    assert str(optimum.folder()) in capsys.readouterr().out
