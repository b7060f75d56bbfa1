"""A background process of a device that is reached through a shell."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from edgedistill.devices import exits
from edgedistill.devices.faults import Lost
from edgedistill.errors import DeviceError
from edgedistill.transport import Process

if TYPE_CHECKING:
    from edgedistill.devices.shell import ShellDevice

TAIL_BYTES = 8192
GRACE_S = 5.0
"""Between asking and forcing."""
_TRIES = 10
_STOPPED = 143
"""128 + SIGTERM, where a stopped process left no code."""


class ShellProcess(Process):
    """The script stays connected while its command runs, so its end is seen here without asking."""

    def __init__(self, device: ShellDevice, argv: Sequence[str], log: str, number: int) -> None:
        self.argv = tuple(argv)
        self._device = device
        self._number = number
        self._log = shlex.quote(log)
        self._lock = threading.Lock()
        self._code: int | None = None
        self._is_stopped = False
        self._said = ""
        self._process = device.popen(f"{device.line(argv)} >{self._log} 2>&1", number)

    def poll(self) -> int | None:
        with self._lock:
            if self._code is None and self._process.poll() is not None:
                out, err = self._process.communicate()
                try:
                    result = self._device.result(out, err, f"{exits.name_of(self.argv)} ran")
                    self._code, self._said = result.code, result.err.decode(errors="replace")
                except Lost:
                    if self._device.is_open and not self._is_stopped:
                        raise
                    self._code = _STOPPED
            return self._code

    def tail(self) -> str:
        return self._device.script(f"tail -c {TAIL_BYTES} {self._log} 2>/dev/null; :", "reading a log").text

    def stop(self) -> None:
        if self.poll() is not None:
            return
        self._is_stopped = True
        for _ in range(_TRIES):  # one that was just started may not have told its number yet
            self._device.end(self._number, GRACE_S)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
                break
        else:
            self._process.kill()
        self.poll()

    def fault(self) -> DeviceError:
        """What the shell said counts where the log is empty: it could not be made, most likely."""
        code = self.poll() or 0
        return exits.fault(self._device, self.argv, code, self.tail() or self._said)
