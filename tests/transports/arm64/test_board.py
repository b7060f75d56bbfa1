"""The tool's own way to a board, with the runtime that is built for one: another processor, reached over ssh alone."""

from __future__ import annotations

import subprocess

import pytest

from edgedistill import target, transport
from edgedistill.toolchain import runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_the_built_runtime_is_pushed_and_starts_there(board):
    programs = runtime.installed(target.load("rpi5"))
    if programs is None:
        pytest.skip("not built here: `edgedistill toolchain install --target rpi5`")
    with transport.open_device(board.address) as device:
        facts = device.facts()
        assert facts.machine == "aarch64" and "bookworm" in (facts.system or "")
        server = device.push(programs / "llama-server", "llama-server")
        said = device.run([server, "--version"], timeout=300)
    assert said.code == 0, said.err
    assert b"llama-cpp-python-0.3.36" in said.out + said.err
    left = subprocess.run(["ssh", "-F", board.config, "127.0.0.1", "ls -A /root"], capture_output=True, timeout=120)
    assert (left.returncode, left.stdout) == (0, b""), "nothing was left behind"
