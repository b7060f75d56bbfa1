"""`local`: this machine is the device. Nothing is copied, commands are plain processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedistill.devices.push import check_architecture
from edgedistill.devices.shell import ShellDevice
from edgedistill.errors import DeviceError
from edgedistill.transport import Address

VERSION = 2


def open_device(address: Address, *, keep: bool = False, folder: str | None = None) -> Local:
    """The device at `local`. It is nobody's alone: the work folder is new each time, unless one is given."""
    return Local(address, folder or "", keep)


class Local(ShellDevice):
    """This machine."""

    needs = ()

    def open(self) -> None:
        made = "" if self.base else tempfile.mkdtemp(prefix="edgedistill-work-")
        self.base = self.base or made
        try:
            super().open()
        except BaseException:
            if made:
                shutil.rmtree(made, ignore_errors=True)
                self.base = ""
            raise

    def command(self, script: str) -> list[str]:
        return ["sh", "-c", script]

    def keeper_command(self, script: str) -> list[str]:
        return ["sh", "-c", script]

    def not_reached(self, errors: str) -> DeviceError:
        return DeviceError(f"no shell could be started on this machine: {errors or 'sh said nothing'}")

    def boot_now(self) -> str:
        return self._boot

    def push(self, local: Path, name: str, *, progress: Callable[[int], None] | None = None) -> str:
        """The file itself."""
        check_architecture(self, local)
        if progress:
            progress(local.stat().st_size)
        return str(local.resolve())

    @contextmanager
    def forward(self, port: int) -> Iterator[int]:
        yield port
