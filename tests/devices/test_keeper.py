"""Who holds a device, and what its keeper says of it at first. The keeper runs in this machine's own shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgedistill.devices import keeper
from edgedistill.toolchain.llama_cpp import cache_folder


@pytest.fixture
def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_process_of_this_machine_that_has_ended_is_dead(ended):
    place = keeper.owner().rpartition(":")[0]
    assert " " not in keeper.owner() and keeper.is_dead(f"{place}:{ended}")
    assert not keeper.is_dead(f"{place}:{os.getpid()}") and not keeper.is_dead("nonsense")


def test_a_machine_of_the_same_name_is_another_one(ended):
    """Its process cannot be looked for here: it lives, for all we know."""
    host, boot, namespace, _ = keeper.owner().split(":")
    assert not keeper.is_dead(f"{host}:{boot[:-1]}x:{namespace}:{ended}")


def test_without_a_boot_id_nobody_is_known_to_be_dead(ended, monkeypatch):
    monkeypatch.setattr(keeper, "boot_id", lambda: "")
    assert not keeper.is_dead(f"{keeper.owner().rpartition(':')[0]}:{ended}")


def first_word(folder: Path, changed: dict[str, str], shell: tuple[str, ...] = ("sh",)) -> keeper.Word:
    """Of a keeper that sees other files in the place of some."""
    text = keeper.script(f"{folder}/device", ["cat", "grep"])
    for path, other in changed.items():
        assert path in text
        text = text.replace(path, other)
    started = keeper.Keeper([*shell, "-c", text])
    word = started.first_word(20)
    assert started.leave("forget") and not (folder / "device").exists()
    return word


def test_a_lock_from_before_a_restart_is_taken_by_one_only(tmp_path):
    """Two see it at the same time; the slower one finds the other's lock in its place."""
    base, moving = tmp_path / "device", 'mv "$lock" "$lock.$$"'
    base.mkdir()
    (base / "lock").write_text("1 00000000-0000 other-host:boot:1:1\n")
    text = keeper.script(str(base), ["cat", "grep"])
    assert moving in text
    slow = keeper.Keeper(["sh", "-c", text.replace(moving, f"sleep 1; {moving}")])
    time.sleep(0.5)
    fast = keeper.Keeper(["sh", "-c", text])
    assert (fast.first_word(20).kind, slow.first_word(20).kind) == ("ready", "busy")
    held = (base / "lock").read_text()
    slow.leave("forget")
    assert held.split()[2] == keeper.owner() and fast.leave("forget") and not base.exists()


ARCH, CLOCK = "/proc/sys/kernel/arch", "/sys/devices/system/clocksource/clocksource0/available_clocksource"
TREE, VENDOR = "/proc/device-tree/compatible", "/sys/class/dmi/id/sys_vendor"


def kernel(word: keeper.Word) -> str:
    return word.rest.split()[2]


@pytest.mark.parametrize(
    "tree, vendor, clocks, found",
    [(b"linux,dummy-virt\0", b"", b"arch_sys_counter", "qemu"), (b"", b"QEMU\n", b"tsc hpet", "qemu"),
     (b"", b"QEMU\n", b"tsc kvm-clock", "aarch64"), (b"raspberrypi,5-model-b\0", b"LENOVO\n", b"tsc", "aarch64")],
)  # fmt: skip
def test_a_whole_system_under_qemu_is_seen(tmp_path, tree, vendor, clocks, found):
    """By what its machines are called; KVM's run at full speed."""
    seen = {TREE: tree, VENDOR: vendor, CLOCK: clocks, ARCH: b"aarch64\n"}
    changed = {}
    for number, (path, content) in enumerate(seen.items()):
        (tmp_path / str(number)).write_bytes(content)
        changed[path] = str(tmp_path / str(number))
    assert kernel(first_word(tmp_path, changed)) == found


def test_a_system_under_qemus_user_mode_is_seen_on_an_old_kernel(tmp_path):
    """Where the kernel does not tell what it was built for. A shell of a real arm64 system is emulated."""
    emulator, root = shutil.which("qemu-aarch64-static"), cache_folder() / "arm64-bookworm"
    if not emulator or not (root / "complete").exists():
        pytest.skip("needs qemu-aarch64-static, and the arm64 system that tests/transports/arm64/userland.py makes")
    shell = (emulator, "-L", str(root), str(root / "bin/dash"))
    assert kernel(first_word(tmp_path, {ARCH: "/no"}, shell)) == "qemu"
    assert kernel(first_word(tmp_path, {ARCH: "/no"})) == "-"
