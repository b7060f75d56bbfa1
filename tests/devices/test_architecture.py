"""What runs where, and what an emulator gives away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgedistill.devices.architecture import is_emulated, runs_on
from edgedistill.toolchain import elf


def test_this_machines_shell_runs_here():
    assert runs_on(str(elf.machine_of(Path("/bin/sh").resolve())), os.uname().machine)


@pytest.mark.parametrize(
    "built_for, machine, can",
    [("aarch64", "arm64", True), ("aarch64", "armv8l", True), ("armv7l", "aarch64", True), ("aarch64", "armv7l", False),
     ("x86_64", "aarch64", False), ("i686", "x86_64", True), ("riscv64", "riscv64", True)],
)  # fmt: skip
def test_what_runs_where(built_for, machine, can):
    assert runs_on(built_for, machine) is can


@pytest.mark.parametrize(
    "machine, kernel, is_so",
    [("aarch64", "x86_64", True), ("x86_64", "x86_64", False), ("armv7l", "aarch64", False), ("i686", "x86_64", False),
     ("riscv64", "aarch64", True), ("riscv64", "riscv64", False)],
)  # fmt: skip
def test_an_emulated_system_is_seen_by_its_kernel(machine, kernel, is_so):
    """A 32-bit system on a 64-bit kernel of the same family is a real one."""
    assert is_emulated(machine, kernel) is is_so
