"""What the exit code of a command on the device means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgedistill.devices.faults import CommandFailed, CpuLacksFeature, Killed, Lost, WrongArchitecture
from edgedistill.errors import DeviceError

if TYPE_CHECKING:
    from edgedistill.transport import Device

ILLEGAL_INSTRUCTION, KILLED, NOT_RUN, NOT_FOUND = 132, 137, 126, 127
LAST_LINES = 8
JUST_NOW_S = 600.0
"""A kill is asked about as soon as it is seen."""
_MEMORY, _UPTIME = "/proc/meminfo", "/proc/uptime"


def fault(device: Device, argv: Sequence[str], code: int, said: str) -> DeviceError:
    """The fault of a command that ended with `code`; `said` is the end of its output. Asks the kernel about a kill."""
    name, where = name_of(argv), str(device.address)
    last = "\n".join(said.strip().splitlines()[-LAST_LINES:])
    words = f"\n{last}" if last else ""
    if code == KILLED:
        return _killed(device, name, words)
    if code == ILLEGAL_INSTRUCTION:
        return CpuLacksFeature(
            f"{name} used an instruction that the CPU of {where} does not have{words}",
            "build the runtime for this CPU: `edgedistill toolchain install --target …` with the device's own target",
        )
    if code == NOT_RUN and re.search(r"format error|cannot execute binary|not executable: \S*ELF", said, re.IGNORECASE):
        return WrongArchitecture(f"{name} is no program for {where}{words}", "build the runtime for this device")
    if code in (NOT_RUN, NOT_FOUND):
        return CommandFailed(
            f"{name} could not be run on {where}{words}",
            "the work folder may lie on a disk that is mounted `noexec`, or the program needs a loader that the device "
            "does not have",
        )
    return CommandFailed(f"{name} ended with code {code} on {where}{words}", "its last words are above")


def _killed(device: Device, name: str, words: str) -> Killed:
    """Killed by the kernel or by somebody: the kernel's log tells, where this user may read it."""
    try:
        log = device.run(["dmesg"], timeout=20).text
        state = device.sample([_MEMORY, _UPTIME])
    except Lost:
        raise
    except DeviceError:
        log, state = "", {}
    memory, uptime = (state.get(path) or "" for path in (_MEMORY, _UPTIME))
    free = re.search(r"MemAvailable:\s*(\d+) kB", memory)
    now = f"; {int(free[1]) // 1024:,} MiB are free now" if free else ""
    if line := out_of_memory(log, name, float((uptime.split() or ["inf"])[0])):
        why = f"the device had no memory left: {line}"
    else:
        why = "most likely the device had no memory left (the kernel's log does not tell; `sudo dmesg | tail` may)"
    return Killed(
        f"{name} was killed on {device.address}: {why}{now}{words}",
        "end other programs there, or choose a smaller quantization or context",
    )


def out_of_memory(log: str, program: str, uptime_s: float) -> str | None:
    """The kernel's words about this program, killed just now; a log has those of other programs and days, too.

    log       as `dmesg` prints it, `[seconds since the start] words` where the kernel notes times
    uptime_s  now
    """
    comm = re.escape(program[:15])  # all that the kernel keeps of a name
    killed = re.compile(rf"(out of memory|oom-kill|lowmemorykiller).*[(=']{comm}([),']|$)", re.IGNORECASE)
    for line in reversed(log.splitlines()):
        stamp = re.match(r"\[\s*([\d.]+)\]", line)
        if killed.search(line) and not (stamp and uptime_s - float(stamp[1]) > JUST_NOW_S):
            return line.strip()
    return None


def name_of(argv: Sequence[str]) -> str:
    """The program of a command line, without its folder; behind `env A=B` too."""
    words = [word for word in argv if "=" not in word and word != "env"] or list(argv) or ["nothing"]
    return words[0].rpartition("/")[2]
