"""The state of a device from the texts of its files, and what it means. The texts are of real boards, cut short."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgedistill import transport
from edgedistill.benchmark import watch
from edgedistill.benchmark.watch import State, Watch

STAT = "cpu  10000 500 2000 90000 300 100 400 250 0 0\ncpu0 5000 250 1000 45000 150 50 200 125 0 0\n"
THERMAL = "/sys/class/thermal/"
CPU = "/sys/devices/system/cpu/"
TEXTS = {
    "/proc/stat": STAT,
    "/proc/uptime": "1234.50 4000.00",
    "/proc/loadavg": "0.52 0.30 0.10 2/150 999",
    "/proc/77/stat": "77 (llama server) S 1 77 77 0 -1 0 0 0 0 0 1500 250 0 0 20 0 5 0",
    "/proc/77/status": "Name:\tllama-server\nVmPeak:\t 900000 kB\nVmHWM:\t  524288 kB",
    f"{THERMAL}thermal_zone0/type": "cpu-thermal",
    f"{THERMAL}thermal_zone0/temp": "61250",
    f"{THERMAL}cooling_device0/type": "pwm-fan",
    f"{THERMAL}cooling_device0/cur_state": "3",
    f"{THERMAL}cooling_device1/type": "thermal-cpufreq-0",
    f"{THERMAL}cooling_device1/cur_state": "2",
    f"{CPU}cpu0/cpufreq/scaling_cur_freq": "2400000",
    f"{CPU}cpu1/cpufreq/scaling_cur_freq": "1500000",
    f"{CPU}cpu0/cpufreq/scaling_governor": "ondemand",
    f"{CPU}cpu1/cpufreq/scaling_governor": "ondemand",
    f"{CPU}cpu0/thermal_throttle/core_throttle_count": "4",
    f"{CPU}cpu1/thermal_throttle/core_throttle_count": "3",
    "/sys/class/power_supply/AC/online": "1",
    "/sys/class/power_supply/BAT0/status": "Charging",
    "/sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
}


class Recorded:
    """A device of which only its files are known: it proves how they are read, not that any device has them."""

    address = transport.parse("ssh://pi@board")

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def run(self, argv: list[str], *, timeout: float) -> Any:
        return SimpleNamespace(text="\n".join(name for name in self.texts if not name.startswith("/proc")))

    def sample(self, paths: list[str]) -> dict[str, str | None]:
        return {path: self.texts.get(path) for path in paths}


@pytest.fixture
def state() -> State:
    return Watch(Recorded(TEXTS)).look(77)  # type: ignore[arg-type]


def test_times_are_seconds_since_the_start(state):
    """(10000 + 500 + 2000 + 100 + 400) / 100 ticks per second; idle, waiting and stolen time are not busy."""
    assert (state.up_s, state.busy_s, state.steal_s) == (1234.5, 130.0, 2.5)
    assert state.server_s == 17.5  # 1500 + 250 ticks; the name of the process holds a space


def test_memory_load_and_clocks(state):
    assert (state.peak_mib, state.load) == (512.0, 0.52)
    assert state.mhz == (2400.0, 1500.0) and state.governor == "ondemand"
    assert state.temperatures == {"cpu-thermal": 61.25}
    assert state.power == "AC online, BAT0 charging"


def test_levels_and_counts_of_what_slows_the_cpu_down_are_kept_apart(state):
    """A fan does not; the counts of two cores are added."""
    assert state.slowed == {"cooling by thermal-cpufreq-0": 2} and state.throttles == {"CPU's own throttling": 7}
    assert state.firmware == 0x50005


def test_a_device_that_tells_little_is_looked_at_all_the_same():
    few = {name: TEXTS[name] for name in ("/proc/stat", "/proc/uptime", "/proc/loadavg")}
    state = Watch(Recorded(few)).look()  # type: ignore[arg-type]
    assert (state.mhz, state.temperatures, state.firmware, state.governor, state.peak_mib) == ((), {}, None, None, None)
    assert watch.summary([state], [state])["temperature_c_highest"] is None
    assert set(watch.summary([], []).values()) == {None}


def test_others_are_what_neither_the_server_nor_this_tool_used():
    """In 4 s 7 s of CPU time: 5 the server's, 0.4 our own; 1.6 s / 4 s = 0.4 cores are left."""
    one = State(up_s=100, busy_s=50, steal_s=0, server_s=10, own_s=1)
    other = State(up_s=104, busy_s=57, steal_s=0.8, server_s=15, own_s=1.4)
    assert watch.others_busy([one, other]) == [pytest.approx(0.4)]
    assert watch.stolen([one, other]) == pytest.approx(0.2)


def test_looks_that_are_too_close_tell_nothing_of_others():
    one = State(up_s=100, busy_s=50, steal_s=0)
    looks = [one, replace(one, up_s=100.1, busy_s=50.1)]
    assert watch.others_busy(looks) == [] and watch.stolen(looks) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"firmware": 0}, {"firmware": 0}, []),
        ({"firmware": 0}, {"firmware": 0x4}, ["firmware: throttled"]),
        ({"firmware": 0}, {"firmware": 0x20000}, ["firmware: clock capped"]),  # between two looks
        ({"firmware": 0x50000}, {"firmware": 0x50000}, []),  # long before this run
        ({"firmware": 0x50000}, {"firmware": 0x50001}, ["firmware: under-voltage"]),
        ({"slowed": {"cooling by Processor": 0}}, {"slowed": {"cooling by Processor": 3}}, ["cooling by Processor"]),
        ({"slowed": {"cooling by Processor": 3}}, {"slowed": {"cooling by Processor": 3}}, ["cooling by Processor"]),
        ({"slowed": {"cooling by Processor": 3}}, {"slowed": {"cooling by Processor": 0}}, []),
        ({"throttles": {"CPU's own throttling": 7}}, {"throttles": {"CPU's own throttling": 7}}, []),
        ({}, {"throttles": {"CPU's own throttling": 1}}, ["CPU's own throttling"]),
    ],
)
def test_what_slowed_it_down_since_the_first_look(before, after, expected):
    plain = State(up_s=1, busy_s=0, steal_s=0)
    assert watch.throttled_because(replace(plain, **before), replace(plain, **after)) == expected


def test_a_clock_that_fell_by_more_than_a_tenth_is_told():
    plain = State(up_s=1, busy_s=0, steal_s=0)
    looks = [replace(plain, mhz=(600.0, clock)) for clock in (2400.0, 2350.0, 1500.0)]
    assert watch.clock_change(looks) == "clock between 1,500 and 2,400 MHz"
    assert watch.clock_change(looks[:2]) == ""


def test_clocks_in_the_summary_are_those_under_load():
    idle = State(up_s=1, busy_s=0, steal_s=0, mhz=(600.0,), temperatures={"cpu": 40.0})
    looks = [replace(idle, mhz=(mhz,), temperatures={"cpu": 60.0}) for mhz in (2400.0, 2300.0, 2400.0)]
    found = watch.summary([idle, idle], looks)
    assert (found["clock_mhz_lowest"], found["clock_mhz_median"]) == (2300, 2400)
    assert (found["temperature_c_first"], found["temperature_c_highest"]) == (40.0, 60.0)


def test_this_machine_can_be_looked_at():
    with transport.open_device("local") as device:
        watching = Watch(device)
        first, second = watching.look(), watching.look()
    assert second.up_s >= first.up_s and second.busy_s >= first.busy_s > 0
    assert first.own_s > 0
