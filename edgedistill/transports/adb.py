"""`adb` or `adb://SERIAL`: an Android phone, through the system's adb. The same scripts as over ssh.

Commands run as the `shell` user in /data/local/tmp, without root. `adb shell -T` passes bytes as they are (Android 7).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edgedistill.devices.faults import HostDown, LoginRefused, NotReached, ProgramMissing
from edgedistill.devices.shell import ShellDevice
from edgedistill.errors import DeviceError
from edgedistill.transport import Address

VERSION = 1

FOLDER = "/data/local/tmp/edgedistill"
LIMIT_S = 20


def open_device(address: Address, *, keep: bool = False, folder: str | None = None) -> Adb:
    """The phone with this serial number, or the only one. Raises ProgramMissing where there is no adb."""
    if shutil.which("adb") is None:
        raise ProgramMissing(
            "there is no `adb` on this machine", "install Android's platform tools (android-tools-adb, or the SDK's)"
        )
    return Adb(address, folder or FOLDER, keep)


class Adb(ShellDevice):
    """A phone."""

    def command(self, script: str) -> list[str]:
        return [*self._adb(), "shell", "-T", f"exec sh -c {shlex.quote(script)}"]

    keeper_command = command

    def boot_now(self) -> str:
        done = self._ask("shell", "-T", "cat /proc/sys/kernel/random/boot_id")
        return done.split()[-1] if done.split() else self._boot

    @contextmanager
    def forward(self, port: int) -> Iterator[int]:
        said = self._ask("forward", "tcp:0", f"tcp:{port}").strip()
        if not said.isdecimal():
            raise DeviceError(
                f"port {port} of {self.address} cannot be forwarded: adb said `{said}` in place of a port here",
                "update adb (Android's platform tools); `adb forward tcp:0 tcp:8080` must print a port",
            )
        try:
            yield int(said)
        finally:
            with suppress(DeviceError):  # it is gone with the phone
                self._ask("forward", "--remove", f"tcp:{said}")

    def not_reached(self, errors: str) -> DeviceError:
        return fault_of(self.address, errors)

    def _adb(self) -> list[str]:
        return ["adb", *(["-s", self.address.name] if self.address.name else [])]

    def _ask(self, *words: str) -> str:
        """What adb prints. Raises the fault that its last words mean."""
        try:
            done = subprocess.run([*self._adb(), *words], capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            raise HostDown(f"{self.address} does not answer") from None
        if done.returncode:
            raise self.not_reached(done.stderr)
        return done.stdout


def fault_of(address: Address, errors: str) -> NotReached:
    """What adb's last words mean."""
    words = " ".join(" ".join(line for line in errors.splitlines() if not line.startswith("*")).split())
    words = re.sub(r"^((adb|error): )+", "", words)
    if "unauthorized" in words:
        return LoginRefused(
            f"{address} has not allowed this computer", "unlock the phone and accept the question about USB debugging"
        )
    if "more than one device" in words:
        return NotReached("several phones are there", "name one: adb://SERIAL, as `adb devices` lists them")
    if re.search(r"not found|no devices|offline|closed|cannot connect|no response", words):
        return HostDown(
            f"{address} is not there: {words}",
            "plug the phone in, switch USB debugging on (developer options), and look at `adb devices`",
        )
    return NotReached(f"{address} could not be reached: {words or 'adb said nothing'}", "look at `adb devices`")
