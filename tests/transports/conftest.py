"""A real sshd on a loopback port with keys of its own, and a way to it that can be cut or slowed down."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from edgedistill import transport
from edgedistill.transport import Device
from edgedistill.transports.ssh import free_port

SSH = shutil.which("ssh")
"""Before a test puts its own in front of it."""
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class SshServer:
    """An sshd; `port` leads to it through `Way`. The client's side lies in `home`, the device's in `device`."""

    def __init__(self, folder: Path) -> None:
        self.home, self.device = folder / "client", folder / "device"
        self.home.mkdir()
        self.device.mkdir()
        self.own_port = free_port()
        self.new_key(self.home / "id")
        self.new_key(self.device / "host")
        self.known = self.home / "known_hosts"
        shutil.copy(self.home / "id.pub", self.device / "authorized")
        self.config = self.device / "sshd_config"
        self.config.write_text(
            f"Port {self.own_port}\nListenAddress 127.0.0.1\nHostKey {self.device}/host\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {self.device}/authorized\nPidFile {self.device}/pid\nPermitRootLogin yes\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        self.prefix: list[str] = []
        self.way = Way(self.own_port)
        self.port = self.way.port
        self.trust()
        self.start()

    @property
    def address(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    @property
    def base(self) -> str:
        """Where our files lie on the device."""
        return f"{self.device}/cache/edgedistill"

    def connect(self, **options: bool) -> Device:
        return transport.open_device(self.address, folder=self.base, **options)

    @staticmethod
    def new_key(path: Path) -> None:
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)

    def trust(self) -> None:
        kind, blob = (self.device / "host.pub").read_text().split()[:2]
        self.known.write_text(f"[127.0.0.1]:{self.port} {kind} {blob}\n")

    def start(self) -> None:
        self.start_with([*self.prefix, SSHD, "-D", "-e", "-f", str(self.config)])

    def start_with(self, command: list[str]) -> None:
        with (self.device / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, start_new_session=True)
        for _ in range(100):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.own_port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"sshd does not start: {(self.device / 'log').read_text()}")

    def logins(self) -> int:
        """So far."""
        return (self.device / "log").read_text().count("Accepted publickey")

    def cut(self) -> None:
        """Kill the server's side of every connection, not what runs in it."""
        if self.process.poll() is not None:
            return
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a child of one that was just killed
                if process.name().startswith(("sshd", "dropbear")):
                    process.kill()

    def stop(self) -> None:
        self.cut()
        self.process.kill()
        self.process.wait()

    def processes(self) -> list[str]:
        """Command lines of what runs for us on the device: all that name its folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "pid", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            is_client = Path(line.split()[0]).name == "ssh" if line else True
            is_ours = self.base in line and process.info["pid"] != os.getpid() and not is_client
            if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(line)
        return found

    def wait_until_left(self, limit_s: float = 12.0) -> None:
        """Until no process of ours runs and no lock is held there."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if not self.processes() and not Path(self.base, "lock").exists():
                return
            time.sleep(0.1)
        pytest.fail(f"still there: {self.processes()}, {list(Path(self.base).rglob('*'))}")


class Way:
    """A port that leads to another one. It can be cut after some bytes, and held up."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.sent = 0
        """Bytes from the client to the device."""
        self.received = 0
        """Bytes from the device to the client."""
        self.later: list[tuple[int, Callable[[], None]]] = []
        """After so many bytes from the client, something is done before more are passed."""
        self.later_received: list[tuple[int, Callable[[], None]]] = []
        """The same, for bytes from the device."""
        self.held = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self._sockets += [client, server]
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(*ends, self.held), daemon=True).start()

    def _pass(self, source: socket.socket, goal: socket.socket, is_upward: bool, held: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                while held.is_set():
                    time.sleep(0.05)
                self._count(len(data), is_upward)
                goal.sendall(data)
        except OSError:
            pass
        for end in (source, goal):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int, is_upward: bool) -> None:
        self.sent += size if is_upward else 0
        self.received += 0 if is_upward else size
        count, later = (self.sent, self.later) if is_upward else (self.received, self.later_received)
        if later and count > later[0][0]:
            later.pop()[1]()

    def new(self) -> None:
        """Connections that come from now on pass; those that are there stay held up."""
        self._sockets, self.held = [], threading.Event()

    def cut(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets = []

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        self._listener.close()
        self.cut()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 MiB that no compression makes smaller."""
    path = tmp_path_factory.mktemp("big") / "big.gguf"
    path.write_bytes(os.urandom(8 * 2**20))
    return path


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """For tests that leave it as it is."""
    yield from _serving(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def server(one_server: SshServer) -> Iterator[SshServer]:
    """Whatever a test does: at its end no process of ours runs on the device, and the next run leaves nothing there."""
    one_server.way.sent = one_server.way.received = 0
    yield one_server
    one_server.wait_until_left()
    with one_server.connect():
        pass
    assert not Path(one_server.base).exists()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[SshServer]:
    """For tests that change or stop it."""
    yield from _serving(tmp_path)


def _serving(folder: Path) -> Iterator[SshServer]:
    """The system's ssh runs as ever, but reads the test's configuration in place of the user's."""
    if not Path(SSHD).exists() or SSH is None:
        pytest.skip("needs OpenSSH's server and client (openssh-server, openssh-client)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    started = SshServer(folder)
    config, program = started.home / "config", started.home / "bin" / "ssh"
    config.write_text(
        f"Host *\n  IdentityFile {started.home}/id\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {started.known}\n  GlobalKnownHostsFile /dev/null\n"
    )
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {SSH} -F {config} "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        yield started
    started.way.close()
    started.stop()
