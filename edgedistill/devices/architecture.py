"""For which CPU a program is built, by the head of its ELF file, and whether a device really has that CPU.

Source  System V ABI, chapter 4, "ELF Header": e_ident at 0, e_machine as a half-word at 18.
"""

from __future__ import annotations

from pathlib import Path

_MACHINES = {3: "i686", 8: "mips", 21: "ppc64le", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_KIN = {
    "aarch64": ("aarch64", "arm64", "armv8l"),  # a 64-bit kernel under a 32-bit system says armv8l
    "armv7l": ("armv6l", "armv7l", "armv8l", "aarch64", "arm64"),
    "i686": ("i386", "i586", "i686", "x86_64"),
    "x86_64": ("x86_64", "amd64"),
}
"""Built for -> what `uname -m` says where it may run. Older 32-bit cores are left to the device to refuse."""


def machine_of(path: Path) -> str | None:
    """As `uname -m` calls it; None for what is no ELF program."""
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        return None
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")


def runs_on(built_for: str, machine: str) -> bool:
    """Whether a program can run where `uname -m` says `machine`."""
    return machine in _KIN.get(built_for, (built_for,))


def is_emulated(machine: str, kernel: str) -> bool:
    """Whether programs see another kind of processor (`uname -m`) than the kernel was built for."""
    return _family(machine) != _family(kernel)


def _family(machine: str) -> str:
    families = {"x86_64": "x86", "amd64": "x86", "i": "x86", "aarch64": "arm", "arm": "arm"}
    return next((family for start, family in families.items() if machine.startswith(start)), machine)
