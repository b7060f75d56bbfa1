"""An arm64 Debian 12 in a folder, and its own sshd on a loopback port: as near to a board as a desk without one gets.

    python tests/transports/arm64/userland.py           make the folder, once; a few minutes
    python tests/transports/arm64/userland.py serve     make it, start its sshd, print how to reach it; Ctrl-C ends it

It needs root (a folder that becomes `/`), `debootstrap`, `qemu-user-static`, and a kernel that was told to start arm64
programs with it:

    apt-get install debootstrap qemu-user-static openssh-client
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64

Nothing of a session stays: the sshd has process numbers and mounts of its own, which go with it, and its /root, /run
and /tmp are in memory.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from edgedistill.locks import held
from edgedistill.log import say
from edgedistill.toolchain.llama_cpp import cache_folder, is_complete

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
"""debootstrap checks what comes from there against Debian's signing keys."""
PACKAGES = "openssh-server"
HANDLER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_PROGRAMS = ("debootstrap", "unshare", "chroot", "mount", "ssh-keygen", "ssh")
_LIMIT_S = 600
_LOOK_S = 10

_START = """
root=$1; keys=$2; port=$3
mount -t proc proc "$root/proc"
for folder in root run tmp; do mount -t tmpfs -o mode=0755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp"
mkdir "$root/run/sshd"
mount --bind "$keys" "$root/mnt"
exec chroot "$root" /usr/sbin/sshd -D -e -p "$port" -f /mnt/sshd_config
"""
"""In mount and process namespaces of its own: `unshare --kill-child` ends everything in there with it."""

_CONFIG = """
ListenAddress 127.0.0.1
HostKey /mnt/host
AuthorizedKeysFile /mnt/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
"""


@dataclass(frozen=True)
class Userland:
    """A running sshd, and what a client needs."""

    port: int
    keys: Path
    """`user` is the client's key; `known_hosts` and `ssh_config` are ready to use; `bin/ssh` is ssh with them."""
    root: Path

    @property
    def address(self) -> str:
        return f"ssh://root@127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        """For `ssh -F`."""
        return self.keys / "ssh_config"


def folder() -> Path:
    return cache_folder() / f"arm64-{SUITE}"


def reason_against() -> str:
    """Why there can be none on this machine; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root: a folder becomes the root of an arm64 Debian"
    lacking = [name for name in _PROGRAMS if not shutil.which(name, path=_path())]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if os.uname().machine != "aarch64" and not HANDLER.is_file():
        return f"the kernel does not start arm64 programs here: no {HANDLER}; see tests/transports/arm64/userland.py"
    return ""


def prepare() -> Path:
    """The root folder, made now if need be. Raises OSError with debootstrap's last words where that fails, and at once
    where the mirror cannot be reached."""
    made = folder()
    made.parent.mkdir(parents=True, exist_ok=True)
    with held(made.with_name(f"{made.name}.lock"), "an arm64 Debian"):
        if not is_complete(made):
            say(f"making an arm64 Debian 12 in {made}: some 60 MB to fetch, a few minutes")
            shutil.rmtree(made, ignore_errors=True)  # of an interrupted run
            _bootstrap(made)
            (made / "complete").touch()
    return made


def _bootstrap(made: Path) -> None:
    """In two stages: the second is the arm64 system's own, run by the emulator."""
    with urllib.request.urlopen(f"{MIRROR}/dists/{SUITE}/Release", timeout=_LOOK_S):
        pass
    options = ["--foreign", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}"]
    _run(["debootstrap", *options, SUITE, str(made), MIRROR])
    _run(["chroot", str(made), "/debootstrap/debootstrap", "--second-stage"])
    shutil.rmtree(made / "var/cache/apt/archives", ignore_errors=True)


def _run(command: list[str]) -> None:
    """With mounts of its own: those that packages' scripts make go with it."""
    environment = {"PATH": _path(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    environment |= {name: value for name, value in os.environ.items() if name.endswith("_proxy")}
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    try:
        done = subprocess.run([*apart, *command], env=environment, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} did not end in {_LIMIT_S} s") from None
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise OSError(f"{command[0]} ended with code {done.returncode}\n{last}")


@contextmanager
def running(keys: Path) -> Iterator[Userland]:
    """Start the sshd with keys made in an empty folder; it ends with the block, and all its processes with it."""
    root = prepare()
    port = _free_port()
    _make_keys(keys, port)
    inside = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-e",
        "-c",
        _START,
    ]
    command = [*inside, "sh", str(root), str(keys), str(port)]
    with (keys / "sshd.log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, "PATH": _path()}, stderr=log, stdout=log)
        try:
            _wait(server, port, keys / "sshd.log")
            yield Userland(port, keys, root)
        finally:
            server.kill()
            server.wait()


def _make_keys(keys: Path, port: int) -> None:
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    (keys / "sshd_config").write_text(_CONFIG)
    kind, key = (keys / "host.pub").read_text().split()[:2]
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (keys / "ssh_config").write_text(
        f"Host *\n  User root\n  Port {port}\n  IdentityFile {keys}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {keys}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  IdentityAgent none\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n"
    )
    program = keys / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {keys}/ssh_config "$@"\n')
    program.chmod(0o755)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it greets: under an emulator the port is open some time before."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as tried:
                if tried.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise OSError(f"the arm64 sshd does not answer\n{log.read_text(errors='replace')[-1000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _path() -> str:
    """debootstrap and chroot lie in sbin, which the path of a user need not have."""
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def main(command: str = "") -> None:
    if against := reason_against():
        sys.exit(against)
    print(prepare())
    if command == "serve":
        import tempfile

        with tempfile.TemporaryDirectory() as keys, running(Path(keys)) as device:
            print(f"ssh -F {device.config} 127.0.0.1\n{device.address}", flush=True)
            _until_interrupted()


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
