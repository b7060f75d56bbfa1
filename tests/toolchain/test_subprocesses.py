from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from edgedistill.errors import StageFailed, UsageError
from edgedistill.toolchain import subprocesses


def a_module(tmp_path, monkeypatch, body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    imports = "from edgedistill.errors import UsageError\nfrom edgedistill.toolchain import subprocesses\n"
    text = f"{imports}\ndef step(given):\n{lines}\n\nsubprocesses.main(step)\n"
    (tmp_path / "step_of_a_test.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "step_of_a_test"


def test_a_result_comes_back(tmp_path, monkeypatch):
    module = a_module(tmp_path, monkeypatch, "print('noise')\nreturn {'twice': 2 * given['n']}")
    assert subprocesses.run(module, {"n": 21}, "doubling", 60) == {"twice": 42}


def test_a_request_may_be_larger_than_a_command_line(tmp_path, monkeypatch):
    """Linux allows 128 KiB for one argument; a hundred rows of a recipe are more."""
    module = a_module(tmp_path, monkeypatch, "return {'length': sum(map(len, given['rows']))}")
    assert subprocesses.run(module, {"rows": ["Ünïcödé " * 250] * 100}, "counting", 60) == {"length": 200_000}


def test_what_the_user_can_mend_comes_back_as_such(tmp_path, monkeypatch):
    module = a_module(tmp_path, monkeypatch, "raise UsageError('the vocabulary is odd', 'choose another')")
    with pytest.raises(UsageError, match="the vocabulary is odd") as raised:
        subprocesses.run(module, {}, "converting", 60)
    assert raised.value.hint == "choose another"


def test_a_crash_is_named_with_the_last_words(tmp_path, monkeypatch):
    module = a_module(tmp_path, monkeypatch, "import os\nos.write(2, b'GGML_ASSERT(x) failed')\nos.abort()")
    with pytest.raises(StageFailed, match=r"exit code -6(.|\n)*GGML_ASSERT\(x\) failed"):
        subprocesses.run(module, {}, "quantizing", 60)


def test_a_step_that_hangs_is_stopped(tmp_path, monkeypatch):
    module = a_module(tmp_path, monkeypatch, "import time\ntime.sleep(600)")
    with pytest.raises(StageFailed, match="took longer than 2 s"):
        subprocesses.run(module, {}, "converting", 2)


def test_a_step_cannot_reach_a_hub(tmp_path, monkeypatch):
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    for name in names:
        monkeypatch.setenv(name, "0")
    module = a_module(tmp_path, monkeypatch, f"import os\nreturn {{name: os.environ[name] for name in {names}}}")
    assert subprocesses.run(module, {}, "looking", 60) == dict.fromkeys(names, "1")


def test_the_libraries_of_a_step_know_that_they_are_offline(tmp_path, monkeypatch):
    """Their own reading of the settings, not our spelling of them."""
    body = "from huggingface_hub.constants import HF_HUB_OFFLINE\nreturn {'off': HF_HUB_OFFLINE}"
    module = a_module(tmp_path, monkeypatch, body)
    assert subprocesses.run(module, {}, "looking", 60) == {"off": True}


@pytest.mark.slow
@pytest.mark.timeout(900)  # the launcher loads torch
def test_of_several_processes_the_first_one_answers(tmp_path, monkeypatch, capsys):
    """And what they say of their progress is passed on, what else they print is not."""
    body = (
        "import os\nfrom pathlib import Path\nrank = os.environ['RANK']\nPath(given['folder'], rank).touch()\n"
        "print('noise')\nprint(f'  counting  {rank}/2', flush=True)\nreturn {'rank': rank}"
    )
    module = a_module(tmp_path, monkeypatch, body)
    seen = tmp_path / "seen"
    seen.mkdir()
    assert subprocesses.run_together(module, {"folder": str(seen)}, "counting", 2) == {"rank": "0"}
    assert sorted(path.name for path in seen.iterdir()) == ["0", "1"]
    assert sorted(capsys.readouterr().err.splitlines()) == ["  counting  0/2", "  counting  1/2"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # the launcher loads torch
def test_a_crash_of_one_of_several_processes_is_named_with_its_last_words(tmp_path, monkeypatch):
    """The other one waits, and is ended."""
    body = "import os, time\nif os.environ['RANK'] == '1':\n    raise OSError(28, 'No space left')\ntime.sleep(600)"
    module = a_module(tmp_path, monkeypatch, body)
    with pytest.raises(StageFailed, match="training failed in 2 processes") as raised:
        subprocesses.run_together(module, {}, "training", 2)
    assert raised.value.problem.splitlines()[-1].strip() == "OSError: [Errno 28] No space left"


@pytest.mark.slow
@pytest.mark.timeout(900)  # the launcher loads torch
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_processes_end_with_a_build_that_is_killed(tmp_path, monkeypatch):
    body = "import os, time\nfrom pathlib import Path\nPath(given['folder'], str(os.getpid())).touch()\ntime.sleep(600)"
    module = a_module(tmp_path, monkeypatch, body)
    folder = tmp_path / "processes"
    folder.mkdir()
    code = (
        "import sys; from edgedistill.toolchain import subprocesses;"
        "subprocesses.run_together(sys.argv[1], {'folder': sys.argv[2]}, 'training', 2)"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    build = subprocess.Popen([sys.executable, "-c", code, module, str(folder)], env={**os.environ, "PYTHONPATH": paths})
    try:
        while len(list(folder.iterdir())) < 2:
            assert build.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
    finally:
        build.kill()
        build.wait()
    left = [int(path.name) for path in folder.iterdir()]
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in left if psutil.pid_exists(pid)]
