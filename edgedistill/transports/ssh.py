"""`ssh://[user@]host[:port]`: the system's OpenSSH, with the user's own configuration, keys, agent and known hosts.

One connection serves everything: the keeper's is the master, the others go through its socket and never open one of
their own. A host key is never accepted for the user, and a password never asked.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgedistill.devices.faults import (
    AGAIN,
    HostDown,
    HostKeyChanged,
    HostKeyUnknown,
    LoginRefused,
    NameNotResolved,
    NotReached,
    ProgramMissing,
)
from edgedistill.devices.shell import ShellDevice
from edgedistill.errors import DeviceError
from edgedistill.transport import Address

VERSION = 1

FOLDER = "~/.cache/edgedistill-device"
SOCKETS = "edgedistill-ssh-"
"""How the folders of our sockets begin."""
CONNECT_S = 15
PROBE_S = 5
_OURS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
    "ControlPersist": "no",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}
"""What counts more than the user's configuration."""
_THROUGH = {"BatchMode": "yes", "ControlMaster": "no", "LogLevel": "ERROR", "ProxyCommand": "exit 255"}
"""For clients of the master. Without it they would open a connection of their own: it cannot come about."""
# OpenSSH's server starts every command in a group of its own, Dropbear does not. In /proc/PID/stat, the name may hold
# anything and ends with `) `; behind it are the state, the parent and the group. An emulator tells 0 as the group.
_LEADING = """\
read -r stat 2>/dev/null </proc/$$/stat && set -- "$1" ${stat##*") "}
case ${4:-0} in 0 | $$) ;; *) command -v setsid >/dev/null && exec setsid sh -c "$1" ;; esac
eval "$1"
"""


def open_device(address: Address, *, keep: bool = False, folder: str | None = None) -> Ssh:
    """The device behind an ssh server. Raises ProgramMissing where there is no ssh."""
    if shutil.which("ssh") is None:
        raise ProgramMissing("there is no `ssh` on this machine", "install OpenSSH's client (openssh-client)")
    return Ssh(address, folder or FOLDER, keep)


class Ssh(ShellDevice):
    """A device behind an ssh server: OpenSSH's, or Dropbear."""

    _sockets: Path | None = None
    _held = -1
    """The open folder of the sockets. Its lock says that we live."""

    def open(self) -> None:
        # A socket's path has about 100 characters; $TMPDIR is often longer than that on a Mac.
        parent = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
        _sweep(parent)
        self._sockets = Path(tempfile.mkdtemp(prefix=SOCKETS, dir=parent))
        self._held = os.open(self._sockets, os.O_RDONLY)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        try:
            super().open()
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            os.close(self._held)
            self._sockets = None

    def keeper_command(self, script: str) -> list[str]:
        return self._direct(script, CONNECT_S, master="yes")

    def command(self, script: str) -> list[str]:
        return [*self._through(), "-T", "-e", "none", "--", self.address.name, remote(script)]

    def boot_now(self) -> str:
        command = self._direct("cat /proc/sys/kernel/random/boot_id 2>/dev/null", PROBE_S, master="no")
        try:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=4 * PROBE_S)
        except subprocess.TimeoutExpired:
            raise HostDown(f"{self.address} does not answer") from None
        if done.returncode == 255:
            raise self.not_reached(done.stderr.decode(errors="replace"))
        lines = done.stdout.decode(errors="replace").split()
        return lines[-1] if lines else self._boot

    @contextmanager
    def forward(self, port: int) -> Iterator[int]:
        """By the master; it ends with it, too."""
        own, way = self._forwarded(port)
        try:
            yield own
        finally:
            with suppress(subprocess.TimeoutExpired):
                self._ask_master("cancel", *way)

    def _forwarded(self, port: int) -> tuple[int, list[str]]:
        """A port here, and the way as ssh has it. Raises Lost, DeviceError."""
        try:
            for _ in range(5):  # the port may be taken between our look and ssh's
                own = free_port()
                way = ["-L", f"127.0.0.1:{own}:127.0.0.1:{port}"]
                done = self._ask_master("forward", *way)
                if done.returncode == 0:
                    return own, way
            is_there = self._ask_master("check").returncode == 0
        except subprocess.TimeoutExpired:
            is_there = False
        if not is_there:
            raise self.lost(f"forwarding its port {port}")
        said = done.stderr.decode(errors="replace").strip()
        raise DeviceError(
            f"port {port} of {self.address} cannot be forwarded: {said}",
            f"look whether programs may listen at 127.0.0.1 of this machine, then {AGAIN}",
        )

    def _ask_master(self, what: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [*self._through(), "-O", what, *words, "--", self.address.name]
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=CONNECT_S)

    def _direct(self, script: str, connect_s: int, *, master: str) -> list[str]:
        """ssh with a connection of its own. The options of the address come before those of the configuration."""
        path = str(self._sockets / "s") if master == "yes" and self._sockets else "none"
        options = {**_OURS, "ConnectTimeout": str(connect_s), "ControlMaster": master, "ControlPath": path}
        where = ["-p", str(self.address.port)] if self.address.port else []
        where += ["-l", self.address.user] if self.address.user else []
        return ["ssh", *_flags(options), *where, "-T", "-e", "none", "--", self.address.name, remote(script)]

    def _through(self) -> list[str]:
        """ssh through the master. It needs no configuration, which might ask for more than we do."""
        return ["ssh", "-F", "none", "-S", f"{self._sockets}/s", *_flags(_THROUGH)]

    def not_reached(self, errors: str) -> DeviceError:
        return fault_of(self.address, errors)


def _sweep(parent: Path) -> None:
    """Remove the socket folders of runs that were killed: nobody holds them any more."""
    for left in parent.glob(f"{SOCKETS}*"):
        with suppress(OSError):  # another user's, or just gone, or held
            is_new = time.time() - left.stat().st_mtime < 60  # made, and perhaps not held yet
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not is_new:
                    shutil.rmtree(left)
            finally:
                os.close(held)


def remote(script: str) -> str:
    """What the login shell there is given, whatever shell that is: sh runs the script, as leader of its group."""
    return f"exec sh -c {shlex.quote(_LEADING)} sh {shlex.quote(script)}"


def _flags(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def free_port() -> int:
    """A port of this machine's loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def fault_of(address: Address, errors: str) -> NotReached:
    """What ssh's last words mean.

    Source  OpenSSH 9: sshconnect.c (host keys, names, connections), sshconnect2.c (keys)
    """
    words = " ".join(errors.split())
    by_hand = " ".join(["ssh", *(["-p", str(address.port)] if address.port else []), _login(address)])
    fingerprint = "`for key in /etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $key; done` on the device"
    if "HOST IDENTIFICATION HAS CHANGED" in words or re.search(r"key for .* has changed", words):
        known = f"[{address.name}]:{address.port}" if address.port not in (None, 22) else address.name
        return HostKeyChanged(
            f"{address} answers with another host key than the one you accepted; nothing was sent",
            "if you did not set the device up anew, somebody may be in between. If you did: "
            f"`ssh-keygen -R '{known}'`, then `{by_hand}`, compare the fingerprint with {fingerprint}, answer yes",
        )
    if "Host key verification failed" in words or "host key is known for" in words:
        return HostKeyUnknown(
            f"the host key of {address} is not among your known hosts; nothing was sent",
            f"connect once by hand: `{by_hand}`, compare the fingerprint with {fingerprint}, answer yes",
        )
    if "Could not resolve hostname" in words:
        return NameNotResolved(
            f"nobody knows a host called `{address.name}`",
            "check the spelling, the network, and `Host` in ~/.ssh/config; a board is often called NAME.local",
        )
    if re.search(r"Permission denied \(|Too many authentication failures|sign_and_send_pubkey", words):
        return LoginRefused(
            f"{address} does not let you in: {_last(errors)}",
            f"check that `{by_hand}` works without a password: `ssh-copy-id` puts your key there, `ssh-add` unlocks it",
        )
    if re.search(r"refused|timed out|No route|unreachable|Connection (closed|reset)|not respond|is down", words):
        return HostDown(
            f"{address} does not answer: {_last(errors)}",
            "check that it is switched on and in the network, and that its ssh server runs",
        )
    return NotReached(f"{address} could not be reached: {_last(errors)}", f"check that `{by_hand} true` works")


def _login(address: Address) -> str:
    return f"{address.user}@{address.name}" if address.user else address.name


def _last(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh said nothing"
