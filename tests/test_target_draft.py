"""A draft from a device's own words, and that what it writes is a target."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from edgedistill import target, target_draft, transport
from edgedistill.cli import cli
from edgedistill.commands import new_target
from edgedistill.devices import facts, tape
from edgedistill.devices.facts import Facts
from edgedistill.errors import UsageError
from edgedistill.predictor import chips
from edgedistill.toolchain import runtime
from edgedistill.transports.local import Local

CORE = "processor\t: {n}\nFeatures\t: fp asimd crc32 asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
MEMORY = "MemTotal:        7942748 kB\nMemFree: 1 kB\nMemAvailable:    7012352 kB\n"


def told(**records: str) -> Facts:
    """What facts.sh prints, taken apart."""
    return facts.parse("".join(f"\x1e{name}\n{text}" for name, text in records.items()))


ROCK = told(
    machine="aarch64",
    model="Radxa ROCK 5B",
    cpuinfo="".join(CORE.format(n=n, part="0xd05" if n < 4 else "0xd0b") for n in range(8)),
    meminfo=MEMORY,
    max_khz="1800000\n" * 4 + "2352000\n" * 4,
)


def arm(part: str, features: str) -> Facts:
    cpuinfo = CORE.format(n=0, part=part).replace("asimddp", f"asimddp {features}")
    return told(machine="aarch64", cpuinfo=cpuinfo, meminfo=MEMORY)


def x86(flags: str) -> Facts:
    return told(machine="x86_64", cpuinfo=f"processor: 0\nmodel name: A CPU\nflags: {flags}\n", meminfo=MEMORY)


def load(text, folder):
    path = folder / "mine.yaml"
    path.write_text(text)
    return target.load(str(path))


def test_big_and_small_cores_are_told_apart(tmp_path):
    made = load(target_draft.draft(ROCK, "ssh", 11.42), tmp_path)
    assert [(c.type, c.count, c.ghz, c.big) for c in made.cores] == [
        ("Cortex-A76", 4, 2.35, True), ("Cortex-A55", 4, 1.8, False),
    ]  # fmt: skip
    assert made.title == "Radxa ROCK 5B" and made.threads == 4 and made.triple == "aarch64-linux-musl"
    assert made.isa is not None and made.isa.features == ("dotprod", "fp16")
    assert made.ram_mib is not None and made.ram_mib.value == 7942748 // 1024
    assert "measured by `edgedistill targets new`, ssh, 20" in made.ram_mib.source
    assert chips.of_target(made).copy_gb_s == 11.4


V3 = "sse4_2 popcnt avx avx2 bmi1 bmi2 f16c fma"


@pytest.mark.parametrize(
    "found, cpu",
    [
        (ROCK, "cortex_a76"),
        (arm("0xd4e", "i8mm bf16 sve sve2"), "cortex_x3"),
        (arm("0xd4e", "i8mm bf16"), "cortex_a78+i8mm+bf16"),
        (arm("0xfff", "i8mm"), "generic"),
        (x86("sse2"), "x86_64"),
        (x86("sse4_2 popcnt"), "x86_64_v2"),
        (x86(f"{V3} avx_vnni"), "x86_64_v3+avxvnni"),
        (x86(f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni"), "x86_64_v4+avx512vnni"),
    ],
)
def test_a_runtime_can_be_built_for_a_draft_anywhere(found, cpu, tmp_path):
    """The compiler's name of what was found there, never this machine's own processor."""
    made = load(target_draft.draft(found, "ssh"), tmp_path)
    assert runtime.runtime_of(made) == runtime.Runtime(f"{found.machine}-linux-musl", cpu)


@pytest.mark.parametrize(
    "model, title",
    [
        ("Orange Pi 5: rev #2", "Orange Pi 5: rev #2"),
        ("", "1x Cortex-X3"),
        ("System Product Name", "1x Cortex-X3"),
    ],
)
def test_it_is_called_as_its_maker_calls_it(model, title, tmp_path):
    found = replace(arm("0xd4e", "i8mm"), model=model or None)
    assert load(target_draft.draft(found, "ssh"), tmp_path).title == title


def test_a_phone_and_a_mac_are_seen_as_such(tmp_path):
    assert load(target_draft.draft(ROCK, "adb"), tmp_path).kind == "phone"
    mac = told(machine="arm64", kernel="Darwin 25.1.0", cpu="Apple M2", cores="8", ram="17179869184")
    made = load(target_draft.draft(mac, "local"), tmp_path)
    assert (made.kind, made.triple, made.title, made.soc) == ("mac", "aarch64-macos", "Apple M2", "8x Apple M2")
    assert made.ram_mib.value == 16384


def test_what_the_device_does_not_tell_is_left_to_a_person(tmp_path):
    text = target_draft.draft(told(machine="riscv64", cpuinfo="processor\t: 0\n", meminfo="MemTotal: 2048 kB\n"), "ssh")
    assert "# peak_gb_s" in text and "cpu: generic  #" in text
    load(text, tmp_path)


def test_a_clock_that_nobody_tells_is_a_guess_and_never_measured(tmp_path):
    made = load(target_draft.draft(x86("avx2"), "ssh", 11.0), tmp_path)
    assert "guess, to be replaced" in made.cores[0].source and "measured" not in made.cores[0].source
    told = "cores: the 1 GHz of A CPU are a guess; write its clock under load, and where that is from"
    assert told in target.doubts(made)
    what = ["--params", "1e8", "--bytes", "1e8", "--quant", "Q4_0", "--json"]
    done = CliRunner().invoke(cli, ["predict", "--target", str(tmp_path / "mine.yaml"), *what])
    assert told in done.stderr and told not in done.stdout


def test_without_sysfs_the_clock_of_now_is_taken(tmp_path):
    now = "processor: 0\ncpu MHz\t\t: 1900.5\n\nprocessor: 1\ncpu MHz\t\t: 2596.118\n"
    made = load(target_draft.draft(told(machine="x86_64", cpuinfo=now, meminfo=MEMORY), "ssh", 11.0), tmp_path)
    assert [cores.ghz for cores in made.cores] == [2.6]
    assert made.cores[0].source.endswith("; clock: cpu MHz of /proc/cpuinfo at that time")
    assert not [doubt for doubt in target.doubts(made) if doubt.startswith("cores")]


def test_this_machine_is_drafted_and_the_draft_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(target_draft, "copy_rate", lambda: 9.5)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(cli, ["targets", "new", "--device", "local", "mine"]).exit_code == 0
    assert run(cli, ["targets", "check", "./mine.yaml"]).exit_code == 0
    assert "copy_gb_s: {value: 9.5" in (tmp_path / "mine.yaml").read_text()
    with pytest.raises(UsageError, match="exists already"):
        run(cli, ["targets", "new", "--device", "local", "mine"], catch_exceptions=False, standalone_mode=False)


def test_a_device_is_drafted_over_any_transport(tmp_path, monkeypatch):
    """By a tape of this machine: the same facts, but no copy test."""
    monkeypatch.chdir(tmp_path)
    with tape.record(transport.open_device("local"), tmp_path / "board.tape") as device:
        found = device.facts()
    done = CliRunner().invoke(cli, ["targets", "new", "--device", "replay://board.tape", "board"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "board.yaml").read_text() == target_draft.draft(found, "replay")


def test_what_is_no_address_is_refused():
    with pytest.raises(UsageError, match="is none of `local`"):
        CliRunner().invoke(
            cli, ["targets", "new", "--device", "pi@desk"], catch_exceptions=False, standalone_mode=False
        )


def test_the_copy_test_is_a_rate():
    assert 0.05 < target_draft.copy_rate(1 << 20, 2) < 1000


def test_one_quiet_moment_is_enough_for_the_copy_rate(monkeypatch):
    """One copy of a MiB in 0.1 ms among many in 1 ms, and only after more than half a second."""
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds

    def clock():
        nonlocal now
        now += 0.0001 if 0.6 < now < 0.7 else 0.001
        return now

    monkeypatch.setattr(target_draft.time, "sleep", sleep)
    monkeypatch.setattr(target_draft.time, "perf_counter", clock)
    assert target_draft.copy_rate(1 << 20) == pytest.approx((1 << 20) / 1e-4 / 1e9)


@pytest.mark.parametrize("load, is_busy", [(1.01, True), (1.0, False)])
def test_others_that_were_busy_are_told_beside_the_copy_rate(load, is_busy, monkeypatch):
    """More than half of two cores."""
    monkeypatch.setattr(target_draft, "copy_rate", lambda: 9.5)
    monkeypatch.setattr(new_target.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(Local, "facts", lambda self: replace(ROCK, cores=2))
    done = CliRunner().invoke(cli, ["targets", "new", "--device", "local"])
    assert done.exit_code == 0
    assert ("# others were busy (load 1.0, cores: 2): measure it again" in done.stdout) == is_busy
    assert ("it may be too low" in done.stderr) == is_busy


def test_an_emulator_is_no_device_to_draft_from():
    with pytest.raises(UsageError, match=r"qemu://cortex-a76 is an emulator: its memory, cores and clock are those of"):
        CliRunner().invoke(
            cli, ["targets", "new", "--device", "qemu://cortex-a76"], catch_exceptions=False, standalone_mode=False
        )
