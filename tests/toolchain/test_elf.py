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
        (243, [1], [], elf.Elf("machine 243", is_static=True, is_stripped=True)),
    ],
)
def test_the_headers_tell_processor_loader_and_symbols(tmp_path, machine, programs, sections, expected):
    path = tmp_path / "program"
    path.write_bytes(made(machine, programs, sections))
    assert elf.read(path) == expected


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
