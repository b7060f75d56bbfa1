"""The stand-in for a board is one: another processor's system, reached over ssh alone."""

from __future__ import annotations

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


def test_it_sees_its_own_processes_only(arm64):
    numbers = ssh(arm64, "echo /proc/[0-9]*").split()
    assert 1 < len(numbers) < 20
