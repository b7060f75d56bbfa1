"""Everything that a transport offers, on a system of another processor that has nothing but a minimal Debian."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from edgedistill import transport
from edgedistill.devices import faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_a_minimal_system_of_another_processor_is_a_device(board, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(os.urandom(2_000_000))
    with transport.open_device(board.address) as device:
        assert device.folder == "/root/.cache/edgedistill-device/work"
        assert device.evidence == ("measured" if os.uname().machine == "aarch64" else "emulated")
        assert device.facts().machine == "aarch64" and device.facts().disk_free_bytes
        path = device.push(file, "model.gguf")
        assert device.pull(path, tmp_path / "back").read_bytes() == file.read_bytes()
        assert device.sample(["/proc/sys/kernel/ostype", "/no"]) == {"/proc/sys/kernel/ostype": "Linux", "/no": None}
        assert device.run(["sh", "-c", "cat; exit 9"], timeout=60, input=b"\x00") == transport.Result(9, b"\x00", b"")
        stopped, left = (device.start(["sleep", "500"], log=f"{n}.log") for n in range(2))
        time.sleep(3)
        stopped.stop()
        assert stopped.poll() is not None and left.poll() is None
        if os.uname().machine != "aarch64":
            with pytest.raises(faults.WrongArchitecture, match="is built for"):
                device.push(transport.Path("/bin/sh").resolve(), "sh")
    seen = subprocess.run(
        ["ssh", "-F", board.config, "127.0.0.1", "ls -A /root; cat /proc/[0-9]*/cmdline | tr '\\000' ' '"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert seen.returncode == 0 and "edgedistill" not in seen.stdout and "sleep" not in seen.stdout
