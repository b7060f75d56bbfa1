from __future__ import annotations

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
