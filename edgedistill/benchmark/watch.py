"""The state of a device while it is measured: temperature, clocks, throttling, others' load, memory, power.

Numbers without it cannot be compared: cooling, governor and power supply move results by tens of per cent. It is read
in one round trip.

Source  the kernel's Documentation/ABI (sysfs) and proc(5); the bits of get_throttled as Raspberry Pi documents them
        (documentation/computers/os.html, vcgencmd)
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from edgedistill.statistics import percentile
from edgedistill.transport import Device

_TICKS = 100.0
"""Of /proc, per second: USER_HZ, on every architecture that llama.cpp runs on."""
_LEAST_S = 0.5
_CLOCK_DROP = 0.9
"""Share of its highest clock below which a core that was busy has been slowed down."""

_FIRMWARE = "/sys/devices/platform/soc/soc:firmware/get_throttled"
_FIRMWARE_BITS = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Now; 16 higher: since the device started."""
_ALWAYS = ("/proc/stat", "/proc/uptime", "/proc/loadavg")
_PATTERNS = (
    "/sys/class/thermal/thermal_zone*/type",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/thermal/cooling_device*/type",
    "/sys/class/thermal/cooling_device*/cur_state",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
    "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count",
    "/sys/class/power_supply/*/online",
    "/sys/class/power_supply/*/status",
    _FIRMWARE,
)
_LIST = 'for p in "$@"; do for f in $p; do [ -r "$f" ] && echo "$f"; done; done; :'


@dataclass(frozen=True)
class State:
    """One look. Seconds of CPU time are of all cores together, since the device or the process began."""

    up_s: float
    """The device's own clock."""
    busy_s: float
    """All processes."""
    steal_s: float
    """Taken by other guests of a virtual machine's host."""
    server_s: float | None = None
    own_s: float = 0.0
    """This tool's process, where it runs on the device itself."""
    load: float | None = None
    """Mean over a minute of processes that want to run."""
    peak_mib: float | None = None
    """Most memory that the server ever had."""
    temperatures: dict[str, float] = field(default_factory=dict)
    """Sensor -> degrees Celsius."""
    mhz: tuple[float, ...] = ()
    """Of each core."""
    governor: str | None = None
    slowed: dict[str, int] = field(default_factory=dict)
    """What slows the CPU down now -> by how many steps."""
    throttles: dict[str, int] = field(default_factory=dict)
    """What slows it down -> how often it did since the device was started."""
    firmware: int | None = None
    """A Raspberry Pi's flags."""
    power: str | None = None


class Watch:
    """Knows which files this device has."""

    def __init__(self, device: Device) -> None:
        self._device = device
        found = device.run(["sh", "-c", _LIST, "sh", *_PATTERNS], timeout=60).text.split()
        self._paths = [*_ALWAYS, *found]

    def look(self, pid: int | None = None) -> State:
        """The state now; `pid`: the server's process."""
        of_server = [f"/proc/{pid}/stat", f"/proc/{pid}/status"] if pid else []
        texts = {name: text or "" for name, text in self._device.sample([*of_server, *self._paths]).items()}
        busy, steal = _busy(texts["/proc/stat"])
        is_here = self._device.address.scheme in ("local", "qemu")
        return State(
            up_s=float((texts["/proc/uptime"] or f"{time.monotonic()} 0").split()[0]),
            busy_s=busy,
            steal_s=steal,
            server_s=_process_s(texts[of_server[0]]) if of_server else None,
            own_s=_own_s() if is_here else 0.0,
            load=_first_number(texts["/proc/loadavg"]),
            peak_mib=_kib(texts[of_server[1]], "VmHWM") if of_server else None,
            **_of_sysfs(texts),
        )


def _of_sysfs(texts: dict[str, str]) -> dict[str, Any]:
    zones = {_beside(texts, name, "type"): text for name, text in texts.items() if name.endswith("/temp")}
    slowed: dict[str, int] = {}
    for name, text in texts.items():
        kind = _beside(texts, name, "type") if name.endswith("/cur_state") else ""
        if "cpufreq" in kind or kind == "Processor":
            slowed[f"cooling by {kind}"] = max(slowed.get(f"cooling by {kind}", 0), int(text or 0))
    counts = [int(text or 0) for name, text in texts.items() if name.endswith("_throttle_count")]
    governors = sorted({text for name, text in texts.items() if name.endswith("scaling_governor") and text})
    clocks = [int(text) / 1000 for name, text in texts.items() if name.endswith("scaling_cur_freq") and text]
    flags = texts.get(_FIRMWARE)
    return {
        "temperatures": {zone: int(text) / 1000 for zone, text in zones.items() if text.lstrip("-").isdigit()},
        "mhz": tuple(clocks),
        "governor": ", ".join(governors) or None,
        "slowed": slowed,
        "throttles": {"CPU's own throttling": sum(counts)} if counts else {},
        "firmware": int(flags, 16) if flags else None,
        "power": _power(texts),
    }


def _beside(texts: dict[str, str], name: str, other: str) -> str:
    """The text of another file in the same folder; without it the folder's name."""
    folder = name.rpartition("/")[0]
    return texts.get(f"{folder}/{other}") or folder.rpartition("/")[2]


def _power(texts: dict[str, str]) -> str | None:
    """`AC online, BAT0 discharging`"""
    said = []
    for name, text in texts.items():
        supply, _, what = name.removeprefix("/sys/class/power_supply/").partition("/")
        if what == "online" and text:
            said.append(f"{supply} {'online' if text != '0' else 'offline'}")
        elif what == "status" and text:
            said.append(f"{supply} {text.lower()}")
    return ", ".join(said) or None


def _busy(stat: str) -> tuple[float, float]:
    """Seconds busy (steal left out) and stolen, from the first line of /proc/stat."""
    words = stat.split("\n", 1)[0].split()[1:]
    if len(words) < 8:
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, steal = (int(word) / _TICKS for word in words[:8])
    return user + nice + system + irq + softirq, steal


def _process_s(stat: str) -> float | None:
    words = stat.rpartition(")")[2].split()  # the name before it may hold spaces
    return (int(words[11]) + int(words[12])) / _TICKS if len(words) > 12 else None


def _own_s() -> float:
    times = os.times()
    return times.user + times.system


def _kib(text: str, name: str) -> float | None:
    """A line of /proc/PID/status, in MiB."""
    found = next((line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")), None)
    return int(found) / 1024 if found else None


def _first_number(text: str) -> float | None:
    return next((float(word) for word in text.split()), None)


def others_busy(states: Sequence[State]) -> list[float]:
    """Cores that other processes kept busy between each two looks. Less than nothing is rounding of the ticks."""
    return [
        max(0.0, (other.busy_s - one.busy_s - _ours(one, other)) / (other.up_s - one.up_s))
        for one, other in _pairs(states)
    ]


def _ours(one: State, other: State) -> float:
    """Seconds that the runtime and this tool used between two looks."""
    return (other.server_s or 0.0) - (one.server_s or 0.0) + other.own_s - one.own_s


def stolen(states: Sequence[State]) -> float | None:
    """Cores that other guests of the same host took, on average; None where nobody looked for long enough."""
    pairs = _pairs(states)
    took = sum(other.up_s - one.up_s for one, other in pairs)
    return sum(other.steal_s - one.steal_s for one, other in pairs) / took if took else None


def _pairs(states: Sequence[State]) -> list[tuple[State, State]]:
    """Looks that follow each other with time enough for ticks of 10 ms."""
    return [(one, other) for one, other in pairwise(states) if other.up_s - one.up_s >= _LEAST_S]


def throttled_because(first: State, later: State) -> list[str]:
    """What slows the CPU down at a look, or has done so since the first one; empty when nothing did."""
    found = []
    for bit, name in _FIRMWARE_BITS.items():
        before, after = first.firmware or 0, later.firmware or 0
        is_new = after >> (bit + 16) & 1 and not before >> (bit + 16) & 1
        if after >> bit & 1 or is_new:
            found.append(f"firmware: {name}")
    found += [name for name, steps in later.slowed.items() if steps]
    found += [name for name, count in later.throttles.items() if count > first.throttles.get(name, 0)]
    return found


def clock_change(states: Sequence[State]) -> str:
    """`clock between 1,500 and 2,400 MHz` when it did not stay where it was; of the fastest core at each look."""
    clocks = [max(state.mhz) for state in states if state.mhz]
    if not clocks or min(clocks) >= _CLOCK_DROP * max(clocks):
        return ""
    return f"clock between {min(clocks):,.0f} and {max(clocks):,.0f} MHz"


def summary(before: Sequence[State], loaded: Sequence[State]) -> dict[str, str | float | None]:
    """Conditions for the report. The clocks are those under load: an idle core's is the governor's choice."""
    clocks = [max(state.mhz) for state in loaded if state.mhz]
    every = [*before, *loaded]
    hottest = [max(state.temperatures.values()) for state in every if state.temperatures]
    return {
        "temperature_c_first": round(hottest[0], 1) if hottest else None,
        "temperature_c_highest": round(max(hottest), 1) if hottest else None,
        "clock_mhz_lowest": round(min(clocks)) if clocks else None,
        "clock_mhz_median": round(percentile(clocks, 0.5)) if clocks else None,
        "governor": every[-1].governor if every else None,
        "power": every[-1].power if every else None,
    }
