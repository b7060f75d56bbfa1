"""`local`: this machine is the device. Nothing is copied, commands are plain processes."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgedistill.errors import DeviceError

VERSION = 1


def open_device(address: str) -> Local:
    """The device at `local`."""
    if address != "local":
        raise DeviceError(f"address {address!r} is not `local`")
    return Local()


class Local:
    """Facts, push, run, pull, clean up: what every transport offers."""

    def facts(self) -> dict[str, str | int | float | None]:
        """What measurements have to be read with."""
        import psutil

        return {
            "where": "local",
            "machine": platform.machine(),
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "ram_mib": round(psutil.virtual_memory().total / 2**20),
        }

    def push(self, file: Path) -> str:
        """The path of the file on the device."""
        return str(file)

    def run(self, command: Sequence[str], *, stdin: str = "", limit_s: float, environment: dict[str, str]) -> str:
        """Standard output of a command. Raises DeviceError when it fails or takes longer than `limit_s`."""
        try:
            done = subprocess.run(
                list(command),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=limit_s,
                env={**os.environ, **environment},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(f"`{command[0]}` took longer than {limit_s:.0f} s on this machine") from None
        if done.returncode != 0:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise DeviceError(f"`{command[0]}` ended with code {done.returncode} on this machine\n{last}")
        return done.stdout

    def pull(self, file: str, to: Path) -> Path:
        """A file of the device, here."""
        to.write_bytes(Path(file).read_bytes())
        return to

    def clean_up(self) -> None:
        """Nothing was copied."""


def cpu_name() -> str:
    """As the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()
