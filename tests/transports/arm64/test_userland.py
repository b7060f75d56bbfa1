"""The stand-in for a board is one: another processor's system, reached over ssh alone."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def ssh(device, command: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["ssh", "-F", device.config, "127.0.0.1", command], input=stdin, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_it_is_an_arm64_debian_without_python(arm64):
    assert ssh(arm64, "uname -m") == "aarch64"
    assert "bookworm" in ssh(arm64, "cat /etc/os-release")
    assert ssh(arm64, "command -v python3 || echo none") == "none"


def test_what_a_session_writes_is_not_in_the_folder_that_is_kept(arm64):
    assert ssh(arm64, "cat > /root/pushed; wc -c < /root/pushed", b"12345") == "5"
    assert not (Path(arm64.root) / "root" / "pushed").exists()
    ssh(arm64, "rm /root/pushed")


def test_it_sees_its_own_processes_only(arm64):
    numbers = ssh(arm64, "echo /proc/[0-9]*").split()
    assert 1 < len(numbers) < 20


def test_where_the_mirror_does_not_answer_it_is_told_at_once(userland, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(userland, "_LOOK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(userland, "MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OSError, match="timed out"):
            userland.prepare()
    assert not userland.is_complete(userland.folder())


def test_a_step_that_hangs_is_a_reason_to_skip(userland, monkeypatch):
    monkeypatch.setattr(userland, "_LIMIT_S", 0.2)
    with pytest.raises(OSError, match=r"sleep did not end in 0\.2 s"):
        userland._run(["sleep", "30"])
