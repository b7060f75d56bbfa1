"""A file from the device: whole, with the content that it has there, or not there at all."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgedistill.devices import exits, scripts
from edgedistill.devices.faults import AGAIN, Corrupted
from edgedistill.devices.push import SUM
from edgedistill.files import publish

if TYPE_CHECKING:
    from edgedistill.devices.shell import ShellDevice


def pull(device: ShellDevice, remote: str, local: Path) -> Path:
    """See `transport.Device.pull`. It is written as it comes: a model may be larger than our memory."""
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{local.name}.part")
    try:
        with part.open("wb") as goal, tempfile.TemporaryFile() as errors:
            arrived = _receive(device, remote, goal, errors)
            errors.seek(0)
            result = device.result(b"", errors.read(), f"pulling {remote}", "nothing of it is kept here")
        if result.code:
            raise exits.fault(device, ["cat", remote], result.code, result.err.decode(errors="replace"))
        if arrived != result.err.split()[0].decode():
            raise Corrupted(f"{remote} of {device.address} arrived here with other content", AGAIN)
        return publish(part, local)
    finally:
        part.unlink(missing_ok=True)


def _receive(device: ShellDevice, remote: str, goal: IO[bytes], errors: IO[bytes]) -> str:
    """Write what comes, until it ends; its sha256. The device's own comes in `errors`, and whether that was all."""
    file, digest = shlex.quote(remote), hashlib.sha256()
    script = f"{SUM}sum <{file} >&2 && cat {file}"
    with device.popen(script, device.number(), stderr=errors.fileno()) as process:
        assert process.stdout is not None
        try:
            for read in scripts.begun(process.stdout):
                digest.update(read)
                goal.write(read)
        except BaseException:
            process.kill()
            raise
    return digest.hexdigest()
