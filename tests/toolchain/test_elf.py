from __future__ import annotations

import platform
import struct
import sys
from pathlib import Path

import pytest

from edgedistill.toolchain import elf


def made(machine: int, program_kinds: list[int], section_kinds: list[int]) -> bytes:
    """A 64-bit little-endian ELF file of headers alone, laid out as the specification's table says."""
    programs = 64
    sections = programs + 56 * len(program_kinds)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    counts = (64, 56, len(program_kinds), 64, len(section_kinds), 0)
    head = identity + struct.pack("<HHIQQQI6H", 2, machine, 1, 0, programs, sections, 0, *counts)
    body = b"".join(struct.pack("<I52x", kind) for kind in program_kinds)
    return head + body + b"".join(struct.pack("<II56x", 0, kind) for kind in section_kinds)


@pytest.mark.parametrize(
    ("machine", "programs", "sections", "expected"),
    [
        (183, [1, 1], [0, 1], elf.Elf("aarch64", is_static=True, is_stripped=True)),
        (62, [6, 3, 1], [0, 1], elf.Elf("x86_64", is_static=False, is_stripped=True)),
        (62, [1], [0, 1, 2], elf.Elf("x86_64", is_static=True, is_stripped=False)),
        (258, [1], [], elf.Elf("machine 258", is_static=True, is_stripped=True)),
    ],
)
def test_the_headers_tell_processor_loader_and_symbols(tmp_path, machine, programs, sections, expected):
    path = tmp_path / "program"
    path.write_bytes(made(machine, programs, sections))
    assert elf.read(path) == expected


def a_head(path: Path, order: int, machine: bytes) -> Path:
    """The first bytes of a program, by hand after the ABI; `order` 1 is little-endian."""
    path.write_bytes(b"\x7fELF" + bytes([2, order, 1]) + bytes(9) + b"\x02\x00" + machine + bytes(40))
    return path


def test_the_machine_is_read_in_the_files_own_byte_order(tmp_path):
    assert elf.machine_of(a_head(tmp_path / "little", 1, b"\xb7\x00")) == "aarch64"
    assert elf.machine_of(a_head(tmp_path / "big", 2, b"\x00\xb7")) == "aarch64"
    assert elf.machine_of(a_head(tmp_path / "unknown", 1, b"\x02\x01")) == "machine 258"


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\necho a longer text than a head"])
def test_what_is_no_program_is_for_no_machine(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert elf.machine_of(tmp_path / "file") is None


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n" * 20, b"\x7fELF\x01\x01" + bytes(80), b"\x7fELF\x02\x01"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="no 64-bit little-endian ELF"):
        elf.read(tmp_path / "file")


def test_a_file_that_was_cut_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(made(183, [1, 1], [0, 1])[:150])
    with pytest.raises(ValueError, match="ends before its headers"):
        elf.read(tmp_path / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="needs an ELF file that this system runs")
def test_this_python_was_made_for_this_machine():
    assert elf.read(Path(sys.executable).resolve()).machine == platform.machine()
