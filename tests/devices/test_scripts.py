"""What is put around a script, and taken off again."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from edgedistill.devices import scripts


def run(body: str, folder, *, before: str = "") -> scripts.Unwrapped:
    (folder / "groups").mkdir(exist_ok=True)
    text = before + scripts.wrapped(body, str(folder), 3)
    done = subprocess.run(["sh", "-c", text], capture_output=True, timeout=20)
    assert list((folder / "groups").iterdir()) == []
    return scripts.unwrapped(done.stdout, done.stderr)


def test_the_code_and_the_output_come_through(tmp_path):
    assert run("printf 'a\\000b'; printf c >&2; exit 255", tmp_path) == (255, b"a\x00b", b"c")


def test_what_is_printed_before_is_left_out(tmp_path):
    assert run("echo mine", tmp_path, before="echo welcome; echo careful >&2\n") == (0, b"mine\n", b"")


def test_a_script_that_was_killed_is_cut(tmp_path):
    (tmp_path / "groups").mkdir()
    killed = subprocess.run(["sh", "-c", scripts.wrapped("kill -KILL $$", str(tmp_path), 3)], capture_output=True)
    assert scripts.unwrapped(killed.stdout, killed.stderr).end == "cut"


def test_output_that_looks_like_our_mark_is_output(tmp_path):
    """Only the last one on stderr counts."""
    assert run("printf '\\nedgedistill-ends:7\\n' >&2; exit 4", tmp_path) == (4, b"", b"\nedgedistill-ends:7\n")


def test_without_its_work_folder_nothing_runs(tmp_path):
    text = scripts.wrapped(f"touch {tmp_path}/ran", f"{tmp_path}/gone", 3)
    done = subprocess.run(["sh", "-c", text], capture_output=True)
    assert scripts.unwrapped(done.stdout, done.stderr).end == "cut" and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shell", ["dash", "bash", "mksh", "busybox ash"])
def test_a_work_folder_that_cannot_be_written_is_told(shell, tmp_path):
    """Many shells end at once, without a word of ours, when `:` cannot write."""
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"needs {shell}")
    (tmp_path / "groups").touch()
    text = scripts.wrapped(f"touch {tmp_path}/ran", str(tmp_path), 3)
    done = subprocess.run([*shell.split(), "-c", text], capture_output=True)
    found = scripts.unwrapped(done.stdout, done.stderr)
    assert found.end == "full" and b"groups/3." in found.err and not (tmp_path / "ran").exists()


def test_what_comes_behind_the_mark_is_the_output_as_it_comes(tmp_path):
    (tmp_path / "groups").mkdir()
    text = "echo welcome\n" + scripts.wrapped("printf one; printf two", str(tmp_path), 3)
    with subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert b"".join(scripts.begun(process.stdout)) == b"onetwo"


def test_a_file_of_several_lines_and_one_that_is_not_there(tmp_path):
    (tmp_path / "a b").write_text("1\n2\n")
    done = subprocess.run(["sh", "-c", scripts.sampling([f"{tmp_path}/a b", "/no"])], capture_output=True, text=True)
    assert done.stdout == "\x1e+1\n2\x1e-"
