"""Small devices have Dropbear in place of OpenSSH's server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgedistill.devices import faults


@pytest.fixture
def dropbear(own_server):
    """A real one in the place of sshd. It sees the test's folder as ~/.ssh."""
    server = own_server
    tried = shutil.which("dropbear") and subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    if os.geteuid() or not tried or tried.returncode:
        pytest.skip("needs Dropbear (dropbear-bin), root and a mount namespace of its own")
    server.stop()
    home = server.device / "home" / ".ssh"
    home.mkdir(parents=True)
    shutil.copy(server.device / "authorized", home / "authorized_keys")
    host_key, to = server.device / "dropbear", Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh")
    made = ["dropbearkey", "-t", "ed25519", "-f", str(host_key)]
    subprocess.run(made, check=True, capture_output=True)
    (server.device / "host.pub").write_text(
        next(line for line in subprocess.run([*made[:1], "-y", "-f", str(host_key)], capture_output=True, text=True)
             .stdout.splitlines() if line.startswith("ssh-ed25519"))
    )  # fmt: skip
    server.trust()
    server.start_with(
        ["unshare", "--mount", "sh", "-c", f'mkdir -p {to} && mount --bind {home} {to} && exec "$@"', "sh", "dropbear",
         "-F", "-E", "-r", str(host_key), "-p", f"127.0.0.1:{server.own_port}"]
    )  # fmt: skip
    return server


def test_a_device_with_dropbear(dropbear, big):
    server = dropbear
    with server.connect() as there:
        assert Path(there.push(big, "model.gguf")).read_bytes() == big.read_bytes()
        stopped, left = (there.start(["sh", "-c", "sleep 100; :"], log=f"{n}.log") for n in range(2))
        stopped.stop()
        assert stopped.poll() is not None and left.poll() is None
    assert server.processes() == [] and not Path(server.base).exists()


def test_a_cut_is_noticed(dropbear):
    server = dropbear
    with pytest.raises(faults.ConnectionCut), server.connect() as there:
        running = there.start(["sleep", "100"], log="p.log")
        time.sleep(0.5)
        server.cut()
        while running.poll() is None:
            time.sleep(0.05)
    server.wait_until_left()
