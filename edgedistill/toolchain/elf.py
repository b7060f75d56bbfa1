"""What an ELF file was made for, read from its headers: which processor, and whether it brings everything along."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_MACHINES = {3: "i686", 8: "mips", 21: "ppc64le", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_INTERPRETER = 3
"""Type of the program header that names a dynamic loader."""
_SYMBOLS = 2
"""Type of the section that a strip takes away."""


@dataclass(frozen=True)
class Elf:
    """The facts that decide whether a device can start it."""

    machine: str
    """As `uname -m` says it, or `machine 258` for one that this tool does not know."""
    is_static: bool
    is_stripped: bool


def machine_of(path: Path) -> str | None:
    """For which CPU a program is built, as `Elf.machine`; None for what is no ELF program.

    Source  System V ABI, chapter 4, "ELF Header": e_ident at 0, e_machine as a half-word at 18.
    """
    with path.open("rb") as file:
        return _machine(file.read(20))


def _machine(head: bytes) -> str | None:
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        return None
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")


def read(path: Path) -> Elf:
    """Raises ValueError for a file that is no 64-bit little-endian ELF, the only kind that is built here.

    Source  Tool Interface Standard, ELF 1.2, with the 64-bit layout of /usr/include/elf.h
    """
    data = path.read_bytes()
    machine = _machine(data)
    if machine is None or data[4:6] != b"\x02\x01" or len(data) < 64:
        raise ValueError(f"{path} is no 64-bit little-endian ELF file")
    programs, sections = struct.unpack_from("<QQ", data, 32)
    program_bytes, program_count, section_bytes, section_count = struct.unpack_from("<HHHH", data, 54)
    try:
        kinds = [struct.unpack_from("<I", data, programs + n * program_bytes)[0] for n in range(program_count)]
        tables = [struct.unpack_from("<I", data, sections + n * section_bytes + 4)[0] for n in range(section_count)]
    except struct.error:
        raise ValueError(f"{path} ends before its headers do") from None
    return Elf(machine, is_static=_INTERPRETER not in kinds, is_stripped=_SYMBOLS not in tables)
