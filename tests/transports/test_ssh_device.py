"""A device over ssh that is full, of another kind, restarted or bare: seen by its own side of the connection only."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgedistill import transport
from edgedistill.devices import faults
from edgedistill.devices.shell import ShellDevice
from edgedistill.errors import DeviceError

MIB = 1024 * 1024


def apart(server, *words: str) -> None:
    """Have sshd start behind a command that changes what it sees of the file system; nobody else sees it."""
    tried = shutil.which("unshare") and subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    if os.geteuid() or not tried or tried.returncode:
        pytest.skip("needs a mount namespace of its own (root, `unshare --mount`), not allowed here")
    server.stop()
    server.prefix = ["unshare", "--mount", "sh", "-c", f'{" ".join(words)} && exec "$@"', "sh"]
    server.start()


def test_a_file_that_does_not_fit_is_not_begun(own_server, big):
    server = own_server
    Path(server.base).mkdir(parents=True)
    apart(server, f"mount -t tmpfs -o size=6m tmpfs {server.base}")
    sent = server.way.sent
    with (
        pytest.raises(
            faults.DiskFull, match=r"has 6 MiB free .* model\.gguf needs 8 MiB more; nothing was written"
        ) as raised,
        server.connect() as there,
    ):
        there.push(big, "model.gguf")
    assert raised.value.exit_code == 3
    assert server.way.sent - sent < 4 * MIB  # what was on the way when the device said so


@pytest.mark.parametrize("box", ["", "busybox", "toybox"])
def test_a_disk_that_fills_while_a_file_comes(own_server, big, tmp_path, box):
    """Another one fills it in the meantime. What was sent is removed, and a smaller file fits then.

    busybox's `tee` calls it an I/O error, and Android's says nothing.
    """
    server = own_server
    if box:
        with_programs(server, tmp_path, {"tee": box})
    Path(server.base).mkdir(parents=True)
    apart(server, f"mount -t tmpfs -o size=9m tmpfs {server.base}")
    small = tmp_path / "small"
    small.write_bytes(bytes(MIB))
    fill = ["nsenter", "-m", "-t", str(server.process.pid), "sh", "-c", f"head -c 4m /dev/zero >{server.base}/other"]

    with server.connect() as there:
        server.way.later = [(server.way.sent + 3 * MIB, lambda: subprocess.run(fill))]
        with pytest.raises(faults.DiskFull, match=r"disk of ssh://.* is full: model\.gguf did not fit; what was sent"):
            there.push(big, "model.gguf")
        assert Path(there.push(small, "small")).name == "small"
        assert there.run(["ls", "-A", f"{server.base}/files"], timeout=20).text.count("\n") == 2


def test_a_disk_that_the_system_no_longer_writes_is_told(own_server):
    """Linux does so when a card fails."""
    server = own_server
    Path(server.base).mkdir(parents=True)
    apart(server, f"mount -t tmpfs tmpfs {server.base}")
    failing = ["nsenter", "-m", "-t", str(server.process.pid), "mount", "-o", "remount,ro", server.base]
    with (
        pytest.raises(DeviceError, match=r"lies on a disk that cannot be written") as raised,
        server.connect() as there,
    ):
        assert there.run(["true"], timeout=20).code == 0
        subprocess.run(failing, check=True)
        there.run(["true"], timeout=20)
    assert "dmesg" in raised.value.hint


def test_the_device_was_restarted(own_server, tmp_path):
    """As seen from its boot id, which the device's side sees another file for."""
    server, boot = own_server, tmp_path / "boot_id"
    boot.write_text("11111111-aaaa\n")
    apart(server, f"mount --bind {boot} /proc/sys/kernel/random/boot_id")
    with pytest.raises(faults.Rebooted, match="was restarted while sleep ran") as raised, server.connect() as there:
        assert there.facts().boot_id == "11111111-aaaa"
        running = there.start(["sleep", "100"], log="p.log")
        time.sleep(0.5)
        boot.write_text("22222222-bbbb\n")
        server.cut()
        while running.poll() is None:
            time.sleep(0.05)
    assert raised.value.exit_code == 3
    server.wait_until_left()


def test_a_lock_from_before_a_restart_holds_nobody_up(server):
    """Its process number may be somebody else's now: here our own."""
    Path(server.base).mkdir(parents=True)
    Path(server.base, "lock").write_text(f"{os.getpid()} 00000000-0000 other-host:1:{os.getpid()}\n")
    with server.connect() as there:
        assert there.run(["true"], timeout=20).code == 0


def test_a_program_for_another_cpu_is_refused_before_anything_is_sent(server, tmp_path):
    program = tmp_path / "llama-server"
    head = bytearray(Path("/bin/sh").resolve().read_bytes()[:64])
    head[18:20] = (243).to_bytes(2, "little")
    program.write_bytes(head)
    with server.connect() as there:
        sent = server.way.sent
        with pytest.raises(faults.WrongArchitecture, match=r"is built for riscv64, and ssh://.*; nothing was sent"):
            there.push(program, "llama-server")
        assert server.way.sent - sent < 100_000


@pytest.mark.parametrize("lacking", ["sha256sum", "grep", "tail"])
def test_a_device_that_lacks_a_program_is_told_so(own_server, tmp_path, lacking):
    with_programs(
        own_server, tmp_path, {name: name for name in ("sh", *ShellDevice.needs) if name != lacking}, only=True
    )
    own_server.stop()
    own_server.start()
    with pytest.raises(faults.ProgramMissing, match=f"has no `{lacking}`"):
        own_server.connect().open()
    assert not Path(own_server.base).exists()


def with_programs(server, folder: Path, programs: dict[str, str], *, only: bool = False) -> None:
    """Have the device find these first; it does when sshd has been started anew."""
    path = folder / "programs"
    path.mkdir()
    for name, real in programs.items():
        if shutil.which(real) is None:
            pytest.skip(f"needs {real}")
        (path / name).symlink_to(str(shutil.which(real)))
    with server.config.open("a") as config:
        config.write(f"SetEnv PATH={path}{'' if only else ':/usr/sbin:/usr/bin:/sbin:/bin'}\n")


@pytest.mark.parametrize("inodes, doing", [(2, "opening"), (5, "running")])
def test_a_disk_without_room_for_one_more_name_is_full(own_server, inodes, doing):
    """Whatever is made first that does not fit: the mark of a new folder, or that of a command."""
    server = own_server
    place = Path(server.device, "small")
    place.mkdir()
    apart(server, f"mount -t tmpfs -o nr_inodes={inodes + 1} tmpfs {place}")
    folder = f"{place}/device" if doing == "running" else f"{place}/new/device"
    device = transport.open_device(server.address, folder=folder)
    with pytest.raises(faults.DiskFull, match=f"is full: nothing can be written in {folder}"):
        device.open()
        device.run(["true"], timeout=20)
    device.close(is_resumable=False)
