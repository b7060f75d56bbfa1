"""A draft from a device's own words, and that what it writes is a target."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from edgedistill import target, target_draft
from edgedistill.cli import cli
from edgedistill.errors import DeviceError, UsageError
from edgedistill.predictor import chips
from edgedistill.target_draft import Facts

CORE = "processor\t: {n}\nFeatures\t: fp asimd crc32 asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
ROCK = Facts(
    cpuinfo="".join(CORE.format(n=n, part="0xd05" if n < 4 else "0xd0b") for n in range(8))
    + "Model\t: Radxa ROCK 5B\n",
    meminfo="MemTotal:        7942748 kB\nMemFree: 1 kB\nMemAvailable:    7012352 kB\n",
    machine="aarch64",
    max_khz=(1800000,) * 4 + (2352000,) * 4,
    copy_gb_s=11.42,
)


def load(text, folder):
    path = folder / "mine.yaml"
    path.write_text(text)
    return target.load(str(path))


def test_big_and_small_cores_are_told_apart(tmp_path):
    made = load(target_draft.draft(ROCK), tmp_path)
    assert [(c.type, c.count, c.ghz, c.big) for c in made.cores] == [
        ("Cortex-A76", 4, 2.35, True), ("Cortex-A55", 4, 1.8, False),
    ]  # fmt: skip
    assert made.title == "Radxa ROCK 5B" and made.threads == 4 and made.triple == "aarch64-linux-musl"
    assert made.isa is not None and made.isa.features == ("dotprod", "fp16")
    assert made.ram_mib is not None and made.ram_mib.value == 7942748 // 1024
    assert "measured by `edgedistill targets new`" in made.ram_mib.source
    assert chips.of_target(made).copy_gb_s == 11.4


def test_what_the_device_does_not_tell_is_left_to_a_person(tmp_path):
    text = target_draft.draft(Facts(cpuinfo="processor\t: 0\n", meminfo="MemTotal: 2048 kB\n", machine="riscv64"))
    assert "the system does not tell the clock" in text
    assert "# peak_gb_s" in text
    load(text, tmp_path)


def test_this_machine_is_drafted_and_the_draft_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(target_draft, "copy_rate", lambda: 9.5)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(cli, ["targets", "new", "--device", "local", "mine"]).exit_code == 0
    assert run(cli, ["targets", "check", "./mine.yaml"]).exit_code == 0
    with pytest.raises(UsageError, match="exists already"):
        run(cli, ["targets", "new", "--device", "local", "mine"], catch_exceptions=False, standalone_mode=False)


def test_another_address_says_what_to_do():
    with pytest.raises(DeviceError, match="cannot look at ssh://pi@desk yet"):
        CliRunner().invoke(
            cli, ["targets", "new", "--device", "ssh://pi@desk"], catch_exceptions=False, standalone_mode=False
        )


def test_the_copy_test_is_a_rate():
    assert 0.05 < target_draft.copy_rate(1 << 20, 2) < 1000
