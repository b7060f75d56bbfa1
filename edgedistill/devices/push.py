"""A file to the device, once: what is there is not sent again, and a name there means a whole, checked file.

Files lie under their sha256: BASE/files/SHA256/NAME. While it comes, a file is called `.partial`; a later run compares
the sha256 of what is there with that of as much of the file here, and sends the rest.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgedistill import log
from edgedistill.devices import architecture
from edgedistill.devices.facts import free_bytes
from edgedistill.devices.faults import AGAIN, ROOM, CommandFailed, Corrupted, DiskFull, WrongArchitecture
from edgedistill.errors import DeviceError, UsageError
from edgedistill.files import sha256_of
from edgedistill.toolchain import elf

if TYPE_CHECKING:
    from edgedistill.devices.shell import ShellDevice
    from edgedistill.transport import Result

CHUNK = 1 << 20
_LOOK_S = 0.1
_NO_ROOM, _NOT_WHOLE = 3, 4
"""Exit codes of the receiving script: nothing was written; something else lies there than was sent."""

# openssl knows the CPU's own instructions for it, which is 3 to 8 times faster than most sha256sum.
SUM = """\
sum() { sha256sum; }
set -- $(printf x | openssl dgst -sha256 -r 2>/dev/null)
[ "$1" = 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 ] && sum() { openssl dgst -sha256 -r; }
export LC_ALL=C
"""

# What is there: `whole NAME`, or `part SHA256 - BYTES`. A damaged file is removed.
_LOOK = """\
cd {folder} 2>/dev/null || exit 0
for file in *; do
    [ -f "$file" ] || continue
    set -- $(sum <"$file")
    if [ "$1" = {sha256} ]; then chmod {mode} "$file" && echo whole "$file"; exit 0; fi
    rm -f "$file"
done
if [ -f .partial ]; then echo part $(sum <.partial) $(wc -c <.partial); fi
"""

# Written and hashed in one go, on two cores. Whether every byte reached the disk is seen by the size.
_RECEIVE = """\
mkdir -p {folder} && cd {folder} || exit 1
{before}
room=$(df -Pk . | tail -n 1)
for word in $room; do case $word in *%) break ;; *) free=$word ;; esac; done
case $free in *[!0-9]*) ;; *) if [ "$free" -lt {needed_kib} ]; then echo "$room"; exit {no_room}; fi ;; esac
set -- $({{ {again}tee -a .partial; }} | sum) $(wc -c <.partial)
if [ "$1 $3" = "{sha256} {size}" ]; then chmod {mode} .partial && mv .partial {name}; exit; fi
echo "$3"
df -Pk . | tail -n 1
exit {not_whole}
"""


def push(device: ShellDevice, local: Path, name: str, progress: Callable[[int], None]) -> str:
    """The path on the device. See `transport.Device.push`."""
    if "/" in name or name.startswith(".") or not name:
        raise UsageError(f"`{name}` is no name for a file on a device")
    check_architecture(device, local)
    sha256, size = sha256_of(local), local.stat().st_size
    folder = f"{device.base}/files/{sha256}"
    mode = 700 if os.access(local, os.X_OK) else 600
    told = _there(device, folder, name, sha256, mode) if device.may_have(sha256) else []
    if told[:1] == ["whole"]:
        progress(size)
        return f"{folder}/{' '.join(told[1:])}"
    begin = _usable(local, size, told)
    progress(begin)
    before, again = (":", "cat .partial; ") if begin else ("true >.partial", "")
    script = SUM + _RECEIVE.format(
        folder=shlex.quote(folder), name=shlex.quote(name), sha256=sha256, size=size, mode=mode, before=before,
        again=again, needed_kib=-(-(size - begin) // 1024), no_room=_NO_ROOM, not_whole=_NOT_WHOLE,
    )  # fmt: skip
    result = _send(device, local, begin, script, name, progress)
    if result.code == _NO_ROOM:
        raise DiskFull(
            f"{device.address} has {(free_bytes(result.text) or 0) / 2**20:,.0f} MiB free in {device.base}, and {name} "
            f"needs {(size - begin) / 2**20:,.0f} MiB more; nothing was written",
            ROOM,
        )
    if result.code:
        raise _not_whole(device, folder, name, size, result)
    return f"{folder}/{name}"


@contextmanager
def sending(file: Path) -> Iterator[Callable[[int], None]]:
    """What `push` tells its progress to: a bar from the first byte on that is sent. What is there already is told
    before that, and has no speed; where that is everything, there is no bar.
    """
    there: int | None = None
    bar: Callable[[int], None] | None = None
    with ExitStack() as shown:

        def advance(count: int) -> None:
            nonlocal there, bar
            if there is None:
                there = count
                return
            if bar is None and count:
                bar = shown.enter_context(log.progress(f"push {file.name}, bytes", file.stat().st_size, there))
            if bar:
                bar(count)

        yield advance


def check_architecture(device: ShellDevice, local: Path) -> None:
    """Raises WrongArchitecture for a program that the device's CPU cannot run."""
    built_for = elf.machine_of(local)
    if built_for and not architecture.runs_on(built_for, device.machine()):
        raise WrongArchitecture(
            f"{local.name} is built for {built_for}, and {device.address} is {device.machine()}; nothing was sent",
            "choose the device's own target with --target, or another --device",
        )


def _there(device: ShellDevice, folder: str, name: str, sha256: str, mode: int) -> list[str]:
    """`whole NAME`, `part SHA256 - BYTES`, or nothing."""
    look = SUM + _LOOK.format(folder=shlex.quote(folder), sha256=sha256, mode=mode)
    return device.script(look, f"looking for {name}", timeout=None).text.split()


def _usable(local: Path, size: int, told: list[str]) -> int:
    """Bytes of a partial file there that are the beginning of the file here."""
    count = int(told[3]) if told[:1] == ["part"] and told[-1].isdecimal() else 0
    if not 0 < count <= size:
        return 0
    digest, left = hashlib.sha256(), count
    with local.open("rb") as file:
        while left and (read := file.read(min(CHUNK, left))):
            digest.update(read)
            left -= len(read)
    return count if digest.hexdigest() == told[1] else 0


def _send(
    device: ShellDevice, local: Path, begin: int, script: str, name: str, progress: Callable[[int], None]
) -> Result:
    """Have the script read the file from `begin` on. Raises Lost when it did not come to its end."""
    with local.open("rb", buffering=0) as file:
        file.seek(begin)
        process = device.popen(script, device.number(), stdin=file.fileno())
        try:
            _watch(process, file, begin, progress)
            out, err = process.communicate()
        except BaseException:
            process.kill()
            process.communicate()
            raise
    return device.result(out, err, f"pushing {name}", f"what has arrived of {name} stays there")


def _watch(process: subprocess.Popen[bytes], file: IO[bytes], begin: int, progress: Callable[[int], None]) -> None:
    """Tell how far a process has read a file, until it ends. It has its place in the file in common with us."""
    told = begin
    while process.returncode is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S)
        at = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        progress(at - told)
        told = at


def _not_whole(device: ShellDevice, folder: str, name: str, size: int, result: Result) -> DeviceError:
    """Something else lies there than was sent; it is removed. Not every `tee` says that the disk is full."""
    with suppress(DiskFull):  # so full that not even a command can be noted: then it is removed at the end
        device.script(f"rm -f {shlex.quote(folder)}/.partial", f"removing a part of {name}")
    problem = result.err.decode(errors="replace").strip()
    arrived, _, room = result.text.partition("\n")
    missing, free = size - int(arrived.strip() or 0), free_bytes(room)
    is_full = missing > 0 and free is not None and free < missing
    if is_full or "No space left" in problem or "quota" in problem:
        return DiskFull(
            f"the disk of {device.address} is full: {name} did not fit; what was sent of it is removed", ROOM
        )
    if problem:
        return CommandFailed(f"{device.address} could not write {name}: {problem}", "check the device's disk")
    return Corrupted(
        f"{name} arrived at {device.address} with other content than it has here; it is removed",
        f"{AGAIN}; if it happens twice, check the device's memory and disk, and whether the file changes here",
    )
