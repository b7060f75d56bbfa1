"""The measuring process: found wherever the build runs from, not led astray, and gone when the build is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from edgedistill import latency
from edgedistill.transport import Result

REPO = Path(__file__).resolve().parent.parent
RAW = latency.Raw([10.0], [50.0], [100.0], [9], 80.0, 30.0, 0.0, 0.0)


class Device:
    """Keeps what it is asked to run; what a real one does is in tests/stages/test_validate.py."""

    def run(self, argv: Sequence[str], *, timeout: float | None, input: bytes | None = None) -> Result:
        self.command = list(argv)
        return Result(0, json.dumps(asdict(RAW)).encode(), b"")


def test_python_path_is_added_to_and_the_folder_at_hand_is_left_out(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/opt/more")
    device = Device()
    assert latency.measure(device, Path("model.gguf"), [], context=64, threads=1) == RAW
    path = os.pathsep.join([str(REPO), "/opt/more"])
    assert device.command == ["env", f"PYTHONPATH={path}", sys.executable, "-P", "-m", "edgedistill.latency"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_it_ends_with_the_build_that_started_it():
    """The build is killed while its child waits for the request; the child's stdin stays open, so that only the kill of
    its parent can end it.
    """
    read, write = os.pipe()
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-P', '-m', 'edgedistill.latency'], stdin={read}, cwd='/')\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    build = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, pass_fds=[read]
    )
    assert build.stdout is not None
    child = int(build.stdout.readline())
    try:
        time.sleep(2.0)  # until it waits for the request
        assert _is_running(child)
        build.send_signal(signal.SIGKILL)
        build.wait()
        until = time.monotonic() + 20
        while _is_running(child):
            assert time.monotonic() < until, "the child outlives its parent"
            time.sleep(0.05)
    finally:
        os.close(read)
        os.close(write)


def _is_running(pid: int) -> bool:
    """A zombie, which nobody has waited for yet, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
