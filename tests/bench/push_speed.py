"""How fast files get to a device: `push` beside scp, alternately, over one ssh connection.

    python tests/bench/push_speed.py                   an sshd of its own, behind a link of 30 MiB/s and without limit
    python tests/bench/push_speed.py --device ssh://pi@rpi5.local

Every round sends new random bytes; the order changes from round to round. `push` compares the sha256 on the device and
scp does not; `push again` is the same file a second time, of which nothing is sent but the sha256. Goal: at least 80%
of scp's rate. A link of 30 MiB/s is good Wi-Fi, or a fast SD card. Without a limit both ends share this machine's
cores, and what is measured is the processor's time for encryption, copies and two sha256.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median

import click

from edgedistill import transport
from edgedistill.table import lines
from edgedistill.transports.ssh import Ssh, free_port

MIB = 1024 * 1024
GOAL = 0.8


@click.command()
@click.option("--device", "address", metavar="ADDRESS", help="A real one. Default: this machine's loopback.")
@click.option("--mib", default=64, show_default=True, help="Size of the file.")
@click.option("--rounds", default=5, show_default=True)
def main(address: str | None, mib: int, rounds: int) -> None:
    for link in [None] if address else [30, None]:
        with tempfile.TemporaryDirectory() as folder:
            if address:
                port = transport.parse(address).port
                rates = measured(address, None, ["-P", str(port)] if port else [], mib, rounds, Path(folder))
            else:
                with own_server(Path(folder), link) as (own, base, options):
                    rates = measured(own, base, options, mib, rounds, Path(folder))
        click.echo(f"{mib} MiB, {rounds} rounds, {f'a link of {link} MiB/s' if link else 'no limit'}")
        shown(rates)


def measured(
    address: str, base: str | None, options: list[str], mib: int, rounds: int, folder: Path
) -> dict[str, list[float]]:
    """MiB/s of every round."""
    rates: dict[str, list[float]] = {"push": [], "scp": [], "push again": []}
    with transport.open_device(address, folder=base) as device:
        assert isinstance(device, Ssh)
        device.machine()
        for number in range(rounds):
            file = folder / f"file{number}"
            file.write_bytes(os.urandom(mib * MIB))
            ways = {"push": partial(device.push, file, "file"), "scp": partial(scp, options, file, device)}
            for way in ("push", "scp") if number % 2 else ("scp", "push"):
                rates[way].append(mib / took(ways[way]))
            rates["push again"].append(mib / took(ways["push"]))
            file.unlink()
            device.run(["sh", "-c", f"rm -rf {device.base}/files/* scp"], timeout=60)
    return rates


def took(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def scp(options: list[str], file: Path, device: Ssh) -> None:
    """Through the connection that `push` uses."""
    through = device.command("true")
    socket_path = through[through.index("-S") + 1]
    goal = f"{device.address.name}:{device.folder}/scp"
    subprocess.run(["scp", *options, "-q", "-o", f"ControlPath={socket_path}", str(file), goal], check=True)


def shown(rates: dict[str, list[float]]) -> None:
    ratio = median(push / scp for push, scp in zip(rates["push"], rates["scp"], strict=True))
    rows = [(way, f"{median(got):,.0f}", f"{min(got):,.0f}-{max(got):,.0f}") for way, got in rates.items()]
    click.echo("\n".join(lines(("way", "MiB/s", "range"), rows, right=("MiB/s", "range"))))
    click.echo(f"  push / scp in the same round: {ratio:.2f} (goal: at least {GOAL})\n")


@contextmanager
def own_server(folder: Path, link: int | None) -> Iterator[tuple[str, str, list[str]]]:
    """Address, folder on the device and scp's options for an sshd of our own, with throwaway keys."""
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("id", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    own = free_port()
    port = limited(own, link) if link else own
    (folder / "sshd").write_text(
        f"Port {own}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/id.pub\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    kind, blob = (folder / "host.pub").read_text().split()[:2]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {kind} {blob}\n")
    (folder / "config").write_text(
        f"Host *\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
    )
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh", path=os.defpath)} -F {folder}/config "$@"\n')
    (folder / "ssh").chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    server = subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", str(folder / "sshd")])
    time.sleep(1)
    try:
        yield f"ssh://127.0.0.1:{port}", str(folder / "device"), ["-P", str(port), "-F", str(folder / "config")]
    finally:
        server.terminate()
        server.wait()


def limited(to: int, link: int) -> int:
    """A port that passes at most so many MiB a second to another one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, goal: socket.socket) -> None:
        goal.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        free_at = time.perf_counter()
        with suppress(OSError):
            while data := source.recv(MIB // 4):
                goal.sendall(data)
                free_at = max(free_at, time.perf_counter() - 0.02) + len(data) / link / MIB
                time.sleep(max(0.0, free_at - time.perf_counter()))
            goal.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            client = listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", to))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=carry, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    main()
