"""Heads of ELF files, by hand after the ABI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgedistill.devices.architecture import is_emulated, machine_of, runs_on


def a_head(path: Path, order: int, machine: bytes) -> Path:
    path.write_bytes(b"\x7fELF" + bytes([2, order, 1]) + bytes(9) + b"\x02\x00" + machine + bytes(40))
    return path


def test_the_machine_is_read_in_the_files_own_byte_order(tmp_path):
    assert machine_of(a_head(tmp_path / "little", 1, b"\xb7\x00")) == "aarch64"
    assert machine_of(a_head(tmp_path / "big", 2, b"\x00\xb7")) == "aarch64"
    assert machine_of(a_head(tmp_path / "unknown", 1, b"\x02\x01")) == "machine 258"


def test_this_machines_shell_runs_here():
    assert runs_on(str(machine_of(Path("/bin/sh").resolve())), os.uname().machine)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\necho a longer text than a head"])
def test_other_files_are_for_no_machine(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert machine_of(tmp_path / "file") is None


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
