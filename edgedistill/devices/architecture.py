"""Whether a device can run programs that are built for a CPU."""

from __future__ import annotations

_KIN = {
    "aarch64": ("aarch64", "arm64", "armv8l"),  # a 64-bit kernel under a 32-bit system says armv8l
    "armv7l": ("armv6l", "armv7l", "armv8l", "aarch64", "arm64"),
    "i686": ("i386", "i586", "i686", "x86_64"),
    "x86_64": ("x86_64", "amd64"),
}
"""Built for -> what `uname -m` says where it may run. Older 32-bit cores are left to the device to refuse."""


def runs_on(built_for: str, machine: str) -> bool:
    """Whether a program can run where `uname -m` says `machine`."""
    return machine in _KIN.get(built_for, (built_for,))


def is_emulated(machine: str, kernel: str) -> bool:
    """Whether programs see another kind of processor (`uname -m`) than the kernel was built for."""
    return _family(machine) != _family(kernel)


def _family(machine: str) -> str:
    families = {"x86_64": "x86", "amd64": "x86", "i": "x86", "aarch64": "arm", "arm": "arm"}
    return next((family for start, family in families.items() if machine.startswith(start)), machine)
