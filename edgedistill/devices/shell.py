"""A device that is reached through a POSIX shell: nothing else of ours runs there, and no Python.

Every command is a script (scripts.py) that a local program (sh, ssh, adb) has run there. One script, the keeper, stays:
it holds the device for us, and cleans up when we leave or the connection ends (keeper.sh).
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from edgedistill.devices import architecture, exits, facts, keeper, pull, push, scripts
from edgedistill.devices.faults import (
    AGAIN,
    ROOM,
    ConnectionCut,
    DiskFull,
    InUse,
    Lost,
    ProgramMissing,
    Rebooted,
    TookTooLong,
)
from edgedistill.devices.process import ShellProcess
from edgedistill.errors import DeviceError
from edgedistill.transport import Address, Device, Process, Result

OPEN_S = 60.0
SHORT_S = 120.0
"""For our own small scripts: a device that is this slow hangs."""
BUSY_S = 6.0
"""How long a keeper whose connection was cut may take to clean up."""


class ShellDevice(Device):
    """What local, ssh, adb and qemu share; a transport says how a script gets there."""

    evidence: Literal["measured", "emulated"] = "measured"
    needs: tuple[str, ...] = (
        "cat", "chmod", "df", "grep", "kill", "mkdir", "mv", "printf", "rm", "rmdir", "sha256sum", "sleep", "tail",
        "tee", "tr", "uname", "wc",
    )  # fmt: skip
    """Programs that the device must have: all that our scripts use."""

    def __init__(self, address: Address, base: str, keep: bool) -> None:
        self.address = address
        self.base = base
        self.folder = ""
        self._keep = keep
        self._keeper: keeper.Keeper | None = None
        self._boot = ""
        self._machine = ""
        self._numbers = itertools.count(1)
        self._had_files = False
        self._pushed: set[str] = set()

    # What a transport says

    @abstractmethod
    def command(self, script: str) -> list[str]:
        """The local command that has `sh` run a script on the open device, as the leader of a process group."""

    @abstractmethod
    def keeper_command(self, script: str) -> list[str]:
        """The same for the first script, which opens the connection."""

    @abstractmethod
    def not_reached(self, errors: str) -> DeviceError:
        """The fault that the local program's last words mean, when nothing came back."""

    @abstractmethod
    def boot_now(self) -> str:
        """The device's boot id over a connection of its own. Raises DeviceError when there is no way to it."""

    # Open and close

    def open(self) -> None:
        """Connect and start the keeper, which claims the device. Raises InUse, ProgramMissing, NotReached children."""
        evict, end = "", time.monotonic() + BUSY_S
        while True:
            started = keeper.Keeper(self.keeper_command(keeper.script(self.base, self.needs, evict)))
            try:
                word = started.first_word(OPEN_S)
            except BaseException:
                started.leave("keep")
                raise
            if word.kind == "ready":
                break
            started.leave("keep")
            if word.kind != "busy" or time.monotonic() > end:
                raise self._refused(word, started)
            evict = word.first if keeper.is_dead(word.rest) else ""
            time.sleep(0.5)
        self._keeper, self._boot = started, "" if word.first == "-" else word.first
        had, self._machine, kernel, self.base = word.rest.split(" ", 3)
        self._had_files, self._pushed = had == "files", set()
        if kernel != "-" and architecture.is_emulated(self._machine, kernel):
            self.evidence = "emulated"
        self.folder = f"{self.base}/work"
        started.beat()

    def close(self, is_resumable: bool) -> str | None:
        """Have the keeper clean up. It cannot when the connection is gone."""
        if self._keeper is None:
            return None
        started, self._keeper = self._keeper, None
        stays, has_files = self._keep or is_resumable, self._had_files or bool(self._pushed)
        has_left = started.leave("keep" if stays else "forget")
        self.disconnect()
        return f"{self.base}/files" if has_files and (stays or not has_left) else None

    @property
    def is_open(self) -> bool:
        return self._keeper is not None

    def disconnect(self) -> None:
        """After the keeper has left."""

    def _refused(self, word: keeper.Word, started: keeper.Keeper) -> DeviceError:
        """Why a keeper could not begin."""
        if word.kind == "busy":
            host, _, number = word.rest.rpartition(":")
            who = f"process {number} of {host.partition(':')[0]}"
            return InUse(f"{self.address} is in use by another edgedistill, {who}", "wait until it has ended")
        if word.kind == "lacks":
            return ProgramMissing(f"{self.address} has no `{word.first}`", "install it there; busybox brings it")
        if word.kind == "unusable":
            return self.full(started.errors())
        return self.not_reached(started.errors())

    def full(self, said: str) -> DeviceError:
        """Our folder there cannot be written."""
        if "No space left" in said:
            return DiskFull(f"the disk of {self.address} is full: nothing can be written in {self.base}", ROOM)
        if "Read-only" in said:
            return DeviceError(
                f"{self.address}: {self.base} lies on a disk that cannot be written",
                "a system makes it so when its disk or card has failed: look at `dmesg` there, and start it anew",
            )
        last = said.strip().rpartition("\n")[2]
        return DeviceError(
            f"{self.address}: nothing can be written in {self.base}{f': {last}' if last else ''}",
            "check who may write there",
        )

    # Commands

    def number(self) -> int:
        """A new one, for a script that is to be ended by it."""
        return next(self._numbers)

    def script(
        self, body: str, doing: str, *, timeout: float | None = SHORT_S, input: bytes | None = None, kept: str = ""
    ) -> Result:
        """What a script did, in the work folder. `doing` and `kept` are told when the connection is cut."""
        number = self.number()
        sent = {"stdin": subprocess.DEVNULL} if input is None else {"stdin": subprocess.PIPE}
        process = self.popen(body, number, **sent)
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            self._abandon(process, number)
            raise TookTooLong(
                f"{doing} on {self.address} took longer than {timeout:,.0f} s; it was ended",
                "look at what else runs there; for a device that is this slow, choose a smaller candidate",
            ) from None
        except BaseException:  # Ctrl-C: nobody waits for it any more
            process.kill()
            raise
        return self.result(out, err, doing, kept)

    def popen(
        self, body: str, number: int, *, stdin: int = subprocess.DEVNULL, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Start a script, wrapped so that it can be ended by its number and tells its exit code."""
        if self._keeper is None:
            raise DeviceError(f"{self.address} is not open")
        command, out = self.command(scripts.wrapped(body, self.folder, number)), subprocess.PIPE
        return subprocess.Popen(command, stdin=stdin, stdout=out, stderr=stderr, start_new_session=True)

    def result(self, out: bytes, err: bytes, doing: str, kept: str = "") -> Result:
        """Output without our marks. Raises Lost when the script did not come to its end."""
        end, out, err = scripts.unwrapped(out, err)
        if end == "full":
            raise self.full(err.decode(errors="replace"))
        if end == "cut":
            raise self.lost(doing, kept)
        return Result(end, out, err)

    def lost(self, doing: str, kept: str = "") -> Lost:
        """The fault of a connection that ended in the middle: looks whether the device is still there, and the same."""
        kept = f"; {kept}" if kept else ""
        hint = f"{AGAIN}: what the device has is not sent again"
        try:
            boot = self.boot_now()
        except DeviceError as error:
            return ConnectionCut(
                f"the connection to {self.address} was cut while {doing}, and now: {error.problem}{kept}", hint
            )
        if self._boot and boot != self._boot:
            return Rebooted(f"{self.address} was restarted while {doing}{kept}", hint)
        return ConnectionCut(f"the connection to {self.address} was cut while {doing}; the device is up{kept}", hint)

    def end(self, number: int, grace_s: float) -> None:
        """End the processes of one script: asked first, then forced. Returns when they are gone."""
        self.script(scripts.ending(number, grace_s), "ending a command")

    def _abandon(self, process: subprocess.Popen[bytes], number: int) -> None:
        try:
            self.end(number, grace_s=1.0)
        finally:
            process.kill()
            process.communicate()

    # What every transport offers

    def facts(self) -> facts.Facts:
        return facts.parse(self.script(facts.SCRIPT, "reading its facts").text)

    def may_have(self, sha256: str) -> bool:
        """Whether it is worth to look for a file. It is told that one is pushed now."""
        is_known = self._had_files or sha256 in self._pushed
        self._pushed.add(sha256)
        return is_known

    def machine(self) -> str:
        """`uname -m`"""
        return self._machine

    def push(self, local: Path, name: str, *, progress: Callable[[int], None] | None = None) -> str:
        return push.push(self, local, name, progress or (lambda n: None))

    def line(self, argv: Sequence[str]) -> str:
        """A command as the device's shell is to be told."""
        return shlex.join(argv)

    def run(self, argv: Sequence[str], *, timeout: float | None, input: bytes | None = None) -> Result:
        return self.script(self.line(argv), f"running {exits.name_of(argv)}", timeout=timeout, input=input)

    def start(self, argv: Sequence[str], *, log: str) -> Process:
        return ShellProcess(self, argv, log, self.number())

    def pull(self, remote: str, local: Path) -> Path:
        return pull.pull(self, remote, local)

    def sample(self, paths: Sequence[str]) -> dict[str, str | None]:
        told = self.script(scripts.sampling(paths), "reading its state").text.split("\x1e")[1:]
        return {path: text[1:].strip() if text[:1] == "+" else None for path, text in zip(paths, told, strict=True)}
