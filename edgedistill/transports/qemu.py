"""`qemu://CPU`: the device's own binaries on this machine, under QEMU's user-mode emulator: `qemu://cortex-a76`.

It proves that the binary runs and answers right. Its speed says nothing, so the evidence is `emulated`.
"""

from __future__ import annotations

import difflib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgedistill.devices.facts import Facts
from edgedistill.devices.faults import ProgramMissing
from edgedistill.errors import UsageError
from edgedistill.toolchain import elf
from edgedistill.transport import Address
from edgedistill.transports.local import Local

VERSION = 1

EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")


def open_device(address: Address, *, keep: bool = False, folder: str | None = None) -> Qemu:
    """A 64-bit Arm CPU of this name. Raises ProgramMissing without QEMU, UsageError for a CPU that it does not know."""
    emulator = next((found for name in EMULATORS if (found := shutil.which(name))), None)
    if emulator is None:
        raise ProgramMissing(
            f"{address} needs QEMU's user-mode emulator, and there is no {' or '.join(EMULATORS)} on this machine",
            "install it: `apt install qemu-user-static`, `dnf install qemu-user-static`, `pacman -S qemu-user-static`",
        )
    known = cpus(emulator)
    if known and address.name not in known:
        near = difflib.get_close_matches(address.name, known, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise UsageError(
            f"device address `{address}`: QEMU knows no CPU `{address.name}`",
            f"{hint}`{Path(emulator).name} -cpu help` lists them",
        )
    return Qemu(address, folder or "", keep, emulator)


def cpus(emulator: str) -> list[str]:
    """The CPUs that it can be."""
    done = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, timeout=30)
    return [line.strip() for line in done.stdout.splitlines() if line.startswith(" ")]


class Qemu(Local):
    """This machine's files and system, with the emulated CPU for programs that are built for it."""

    evidence = "emulated"

    def __init__(self, address: Address, base: str, keep: bool, emulator: str) -> None:
        super().__init__(address, base, keep)
        self._emulator = emulator

    def machine(self) -> str:
        return "aarch64"

    def facts(self) -> Facts:
        """Of this machine, less what the emulated CPU has otherwise."""
        own = super().facts()
        return replace(own, machine="aarch64", cpu=f"{self.address.name} (emulated)", cpu_features=(), cpuinfo="")

    def line(self, argv: Sequence[str]) -> str:
        """Programs for the emulated CPU go through the emulator; others are this machine's own."""
        words = list(argv)
        at = next((place for place, word in enumerate(words) if word != "env" and "=" not in word), 0)
        program = Path(words[at])
        if program.is_file() and elf.machine_of(program) == "aarch64":
            words[at:at] = [self._emulator, "-cpu", self.address.name]
        return shlex.join(words)
