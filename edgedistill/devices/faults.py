"""What can fail about a device. All end with exit code 3, and say what happened, what was kept and what to do.

What was pushed stays on the device for the next run, except after WrongArchitecture and DiskFull.

DeviceError
├── NotReached            nothing was done on the device
│   ├── HostDown, NameNotResolved, LoginRefused, HostKeyUnknown, HostKeyChanged
│   ├── ProgramMissing    ssh, adb or qemu is not installed here, or sha256sum not there
│   └── InUse             another edgedistill works there
├── Lost                  the way to it broke in the middle
│   └── ConnectionCut, Rebooted
├── CommandFailed         a command there ended with another code than 0
│   └── Killed, CpuLacksFeature
├── WrongArchitecture, DiskFull, TookTooLong, Corrupted
└── TapeDiffers           a recorded run is asked for something that it has not
"""

from __future__ import annotations

from edgedistill.errors import DeviceError

AGAIN = "run the same command again"
ROOM = "free some space there, or choose a smaller candidate"


class NotReached(DeviceError):
    """Nothing was done on the device."""


class HostDown(NotReached):
    """It does not answer."""


class NameNotResolved(NotReached):
    """Nobody knows the host's name."""


class LoginRefused(NotReached):
    """It answers, and does not let us in."""


class HostKeyUnknown(NotReached):
    """It answers with a key that this user has never accepted."""


class HostKeyChanged(NotReached):
    """It answers with another key than the one that this user accepted."""


class ProgramMissing(NotReached):
    """ssh, adb or qemu is not installed here, or a program that the device needs not there."""


class InUse(NotReached):
    """Another edgedistill works there."""


class Lost(DeviceError):
    """The way to the device broke in the middle."""


class ConnectionCut(Lost):
    """The connection ended before the work did."""


class Rebooted(Lost):
    """The device has started anew since we opened it."""


class CommandFailed(DeviceError):
    """A command on the device ended with another code than 0."""


class Killed(CommandFailed):
    """A command on the device was killed, most often for its memory."""


class CpuLacksFeature(CommandFailed):
    """A command on the device used an instruction that its CPU does not have."""


class WrongArchitecture(DeviceError):
    """A program is built for another kind of CPU."""


class DiskFull(DeviceError):
    """The device has no room for a file."""


class TookTooLong(DeviceError):
    """A command did not end in its time."""


class Corrupted(DeviceError):
    """A file arrived with other content than it was sent with."""


class TapeDiffers(DeviceError):
    """A recorded run is asked for something that it has not."""


def is_resumable(error: BaseException | None) -> bool:
    """Whether what was pushed is worth keeping after it: the next run goes on with it, when the cause is mended."""
    return isinstance(error, DeviceError | KeyboardInterrupt) and not isinstance(error, WrongArchitecture | DiskFull)
