"""Compiler and build programs from the package index: zig (clang, linkers and C libraries for many devices), CMake and
Ninja. No root and no package of the distribution is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgedistill.toolchain import environment

PINS = ("ziglang==0.17.1", "cmake==4.4.4", "ninja==1.13.2")
"""Part of every runtime's key: with other pins it is built again."""


@dataclass(frozen=True)
class Compilers:
    """The programs, and where the licences of what they link into a binary lie."""

    zig: Path
    cmake: Path
    ninja: Path
    cache: Path
    """Where zig keeps the C libraries that it compiles for a processor."""

    @property
    def licences(self) -> dict[str, Path]:
        """Name -> text, of the libraries that become part of a static binary."""
        libraries = self.zig.parent / "lib"
        return {
            "musl": libraries / "libc" / "musl" / "COPYRIGHT",
            "libcxx": libraries / "libcxx" / "LICENSE.TXT",
            "libcxxabi": libraries / "libcxxabi" / "LICENSE.TXT",
            "libunwind": libraries / "libunwind" / "LICENSE.TXT",
        }


def folder() -> Path:
    """Where the environment lies once it is made."""
    return environment.folder("compilers", PINS)


def install() -> Path:
    """Make the environment unless it is there. Raises EdgeDistillError when pip cannot fetch a package."""
    return environment.install("compilers", PINS, "zig, CMake and Ninja, 130 MB to fetch")


def programs() -> Compilers:
    """The programs, installed now if need be."""
    made = install()
    zig = next(made.glob("[Ll]ib/**/site-packages/ziglang/zig*"))
    return Compilers(zig, environment.program(made, "cmake"), environment.program(made, "ninja"), made / "cache")
