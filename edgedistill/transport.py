"""How a device is reached: its address, and what every transport offers. The files in transports/ are the alternatives.

    with transport.open_device("ssh://pi@rpi5.local") as device:
        server = device.push(Path("llama-server"), "llama-server")
        process = device.start([server, "--port", "8080"], log="server.log")

Leaving the block ends our processes there and removes what was pushed, unless `keep`. A cut connection ends them too.
After a fault what was pushed stays for the next run, and the fault says where.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from edgedistill import components
from edgedistill.errors import DeviceError, EdgeDistillError, UsageError
from edgedistill.log import say

if TYPE_CHECKING:
    from edgedistill.devices.facts import Facts

Evidence = Literal["measured", "emulated"]
"""What figures taken there are worth: an emulator proves answers, never speed."""


@dataclass(frozen=True)
class Address:
    """`local`, `ssh://[user@]host[:port]`, `adb`, `adb://SERIAL`, `qemu://CPU` or `replay://FILE`, taken apart."""

    scheme: str
    """Which file in transports/."""
    name: str = ""
    """Host, serial number, CPU or path; empty for `local`, and for `adb` with the one device that is there."""
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        if self.scheme == "local" or not self.name:
            return self.scheme
        host = f"[{self.name}]" if self.scheme == "ssh" and ":" in self.name else self.name
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class Result:
    """What a command on the device left."""

    code: int
    """Exit code, 128 + n after signal n."""
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")


class Process(ABC):
    """A command that runs in the background of a device. It ends with the connection."""

    argv: tuple[str, ...]

    @abstractmethod
    def poll(self) -> int | None:
        """Exit code, 128 + n after signal n; None while it runs. Raises DeviceError when the connection is gone."""

    @abstractmethod
    def tail(self) -> str:
        """The end of its log, output and errors together."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end, then force it. Returns when it is gone; nothing to do when it is gone already."""

    @abstractmethod
    def fault(self) -> DeviceError:
        """Why it ended, once `poll` gave a code: killed for memory, a CPU feature that is lacking, its last words."""


class Device(ABC):
    """A device, open inside its `with` block. Safe to use from several threads.

    Paths on the device are texts: absolute, or relative to `folder`, where commands run. Every method raises a
    DeviceError child (devices/faults.py) when the device or the way to it fails.
    """

    address: Address
    evidence: Evidence
    """Known once it is open: QEMU is seen by what it maps, or by what its machines are called. An emulator that hides
    better than that counts as a device."""
    folder: str
    """The private work folder on the device; made on entering."""

    @abstractmethod
    def facts(self) -> Facts:
        """What measurements have to be read with. Memory, disk and governor are as of now."""

    @abstractmethod
    def push(self, local: Path, name: str, *, progress: Callable[[int], None] | None = None) -> str:
        """A file's path on the device, with its whole content, checked there by sha256.

        Nothing is sent when it is there already; a partial file is gone on with. `progress(n)` first tells how many
        bytes the device has, 0 too, and then each n that are sent. Executable here is executable there.

        Raises  WrongArchitecture for a program that the device's CPU cannot run, before anything is sent; DiskFull
        """

    @abstractmethod
    def run(self, argv: Sequence[str], *, timeout: float | None, input: bytes | None = None) -> Result:
        """A command's exit code and output. Raises TookTooLong after `timeout` seconds, and leaves no process then."""

    @abstractmethod
    def start(self, argv: Sequence[str], *, log: str) -> Process:
        """Run a command in the background. `log` is a file name: its output and errors, in `folder`."""

    @abstractmethod
    def forward(self, port: int) -> AbstractContextManager[int]:
        """A loopback port of this machine that reaches 127.0.0.1:`port` of the device."""

    @abstractmethod
    def pull(self, remote: str, local: Path) -> Path:
        """A file of the device, here; whole, or not there at all."""

    @abstractmethod
    def sample(self, paths: Sequence[str]) -> dict[str, str | None]:
        """Small text files of the device, e.g. of /sys, stripped, in one round trip; None for what cannot be read."""

    def read(self, path: str) -> str | None:
        """A small text file of the device, stripped; None when it cannot be read."""
        return self.sample([path])[path]

    @abstractmethod
    def open(self) -> None:
        """Connect, claim the device for us, and make the work folder."""

    @abstractmethod
    def close(self, is_resumable: bool) -> str | None:
        """End our processes and remove what was pushed; with `is_resumable` the pushed files stay for the next run.

        Returns where they stay, also because the connection is gone; None where nothing does.
        """

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from edgedistill.devices.faults import is_resumable

        stays = self.close(is_resumable(error))
        if not stays:
            return
        told = f"what was pushed stays in {stays} of {self.address}, for the next run"
        if isinstance(error, EdgeDistillError):
            error.hint = f"{error.hint}\n      {told}".strip()
        elif error is not None:
            error.add_note(told)
        else:
            say(told)


def open_device(address: str | Address, *, keep: bool = False, folder: str | None = None) -> Device:
    """The device at an address; `with` opens it.

    keep    leave what was pushed on the device, so that nothing has to be sent the next time
    folder  where everything of ours lies on the device. Default: ~/.cache/edgedistill-device, on Android
            /data/local/tmp/edgedistill
    Raises  UsageError for an address that is none
    """
    where = parse(address) if isinstance(address, str) else address
    module: Any = components.load("transports", where.scheme)
    device: Device = module.open_device(where, keep=keep, folder=folder)
    return device


_FORMS = "`local`, `ssh://[user@]host[:port]`, `adb`, `adb://SERIAL`, `qemu://CPU` and `replay://FILE`"


def parse(text: str) -> Address:
    """An address taken apart. Raises UsageError that says what is wrong with it."""
    scheme, colons, rest = text.partition("://")
    if scheme != "replay" and ":" in (rest or scheme).rpartition("@")[0]:
        # Before anything else, and without the address: what stands behind the colon is a secret.
        raise UsageError(
            "a device address takes no password, and one with `:` before `@` has one",
            "log in with a key (`ssh-copy-id` puts yours on the device), and write ssh://user@host",
        )
    if scheme not in components.names("transports"):
        is_host = not colons and re.search(r"[@.]", text) and "/" not in text
        near = f" (did you mean `ssh://{text}`?)" if is_host else components.near(scheme, "transports")
        raise UsageError(f"device address `{text}` is none of {_FORMS}{near}")
    if scheme == "local" and colons:
        raise UsageError(f"device address `{text}`: this machine is just `local`")
    if scheme not in ("local", "adb") and not rest:
        raise UsageError(f"device address `{text}` names nothing behind {scheme}://; addresses are {_FORMS}")
    if rest.startswith("-"):
        raise UsageError(f"device address `{text}`: a name cannot begin with `-`")
    return _ssh(text) if scheme == "ssh" else Address(scheme, rest)


def _ssh(text: str) -> Address:
    try:
        parts = urlsplit(text)
    except ValueError as error:  # brackets that do not close
        raise UsageError(f"device address `{text}`: {error}") from None
    user, at, host = parts.netloc.rpartition("@")
    try:
        port = parts.port
    except ValueError:
        wrong = host.rpartition("]")[2].partition(":")[2]
        hint = "an IPv6 address stands in brackets: ssh://[fe80::1]" if ":" in wrong else ""
        raise UsageError(f"device address `{text}`: `{wrong}` is no port, a number up to 65535", hint) from None
    host = re.sub(r":\d*$", "", host).strip("[]")  # urlsplit's own `hostname` is in small letters; aliases need not be
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"device address `{text}`: nothing may stand behind the host and port")
    if not re.fullmatch(r"[\w.:%-]+", host) or host.startswith("-"):
        raise UsageError(f"device address `{text}`: `{host}` is no host name")
    if at and (not re.fullmatch(r"[\w.@+-]+", user) or user.startswith("-")):
        raise UsageError(f"device address `{text}`: `{user}` is no user name")
    return Address("ssh", host, user or None, port)
