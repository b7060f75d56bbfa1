"""What is refused, and what is told from the target's device, before anything is pushed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edgedistill import target as targets
from edgedistill.benchmark import fit
from edgedistill.bundle_manifest import Device
from edgedistill.devices.facts import Facts
from edgedistill.devices.faults import CpuLacksFeature, WrongArchitecture
from edgedistill.errors import DeviceError

MIB = 1024 * 1024
BOARD = Device(
    name="rpi5", title="Raspberry Pi 5", soc="4x A76", triple="aarch64-linux-musl", cpu="cortex_a76", threads=4
)
FACTS = Facts(
    machine="aarch64",
    cpu_features=("fp", "asimd", "asimddp", "asimdhp"),
    available_bytes=900 * MIB,
    disk_free_bytes=500 * MIB,
)


def bundle(**chosen) -> SimpleNamespace:
    return SimpleNamespace(target=BOARD, chosen={"bytes": 400 * MIB, "memory_mib": {"peak": 520, "low": 450}, **chosen})


def test_a_device_that_fits_is_let_through():
    fit.check_machine(FACTS, "aarch64", ("asimddp",), bundle())
    fit.check_memory(FACTS, bundle())


def test_another_architecture_is_named():
    with pytest.raises(WrongArchitecture, match="the device is x86_64, and the bundle is for Raspberry Pi 5, aarch64"):
        fit.check_machine(Facts(machine="x86_64"), "aarch64", (), bundle())


def test_android_and_macos_call_the_same_architecture_otherwise():
    fit.check_machine(Facts(machine="arm64"), "aarch64", (), bundle())


def test_a_missing_cpu_feature_is_named():
    pi4 = Facts(machine="aarch64", cpu_features=("fp", "asimd"))
    with pytest.raises(CpuLacksFeature, match="uses asimddp, asimdhp, which the device's CPU does not have"):
        fit.check_machine(pi4, "aarch64", ("asimdhp", "asimddp", "fp"), bundle())


def test_a_device_that_does_not_tell_its_features_is_tried():
    fit.check_machine(Facts(machine="aarch64"), "aarch64", ("asimddp",), bundle())


def test_a_full_disk_is_left_to_the_push_which_knows_what_is_there_already():
    fit.check_memory(replace(FACTS, disk_free_bytes=0), bundle())


def test_too_little_memory_says_what_is_needed():
    facts = Facts(machine="aarch64", available_bytes=427 * MIB)
    with pytest.raises(DeviceError, match="427 MiB of memory available, and the model needs at least 450 MiB") as found:
        fit.check_memory(facts, bundle())
    assert found.value.exit_code == 3 and "nothing was pushed" in found.value.hint


def test_without_a_prediction_the_file_must_fit():
    facts = Facts(machine="aarch64", available_bytes=399 * MIB)
    with pytest.raises(DeviceError, match="at least 400 MiB"):
        fit.check_memory(facts, bundle(memory_mib=None))


N100 = "Intel(R) N100"
PI5, RK3588 = "4x Cortex-A76", "4x Cortex-A55, 4x Cortex-A76"


@pytest.mark.parametrize(
    ("target", "cpu", "khz"),
    [
        ("rpi5", PI5, (2_400_000,) * 4),
        ("rpi5", PI5, ()),
        ("rpi5", None, ()),
        ("rk3588", RK3588, (1_800_000,) * 4 + (2_256_000,) * 4),
        ("orin-nano-8gb", "6x Cortex-A78AE", (1_728_000,) * 6),
        ("phone-sd8gen2", "3x Cortex-A510, 2x Cortex-A715, 2x Cortex-A710, 1x Cortex-X3", (3_187_200,)),
        ("phone-sd8elite", "8x part 0x001", (4_320_000,)),
        ("n100", N100, (3_400_000,)),
        ("laptop-i5-1235u", "12th Gen Intel(R) Core(TM) i5-1235U", (4_400_000,)),
        ("mac-m1", "Apple M1", ()),
        ("host", "AMD EPYC", ()),
    ],
)
def test_a_device_of_the_targets_kind_is_taken_for_it(target, cpu, khz):
    assert fit.other_device(Facts(machine="m", cpu=cpu, max_khz=khz), targets.load(target)) is None


@pytest.mark.parametrize(
    ("target", "cpu", "khz", "said"),
    [
        ("rpi5", RK3588, (), RK3588),
        ("rpi5", "4x Cortex-A55", (), "4x Cortex-A55"),
        ("rpi5", "16x part 0xd0c", (), "16x part 0xd0c"),  # a server with Neoverse-N1
        ("rpi5", PI5, (3_000_000,) * 4, f"{PI5} at 3.0 GHz"),
        ("rpi-zero2w", "4x Cortex-A53", (1_400_000,) * 4, "4x Cortex-A53 at 1.4 GHz"),  # a Pi 3 B+
        ("orin-nano-8gb", "12x Cortex-A78AE", (), "12x Cortex-A78AE"),
        ("phone-sd8elite", PI5, (), PI5),
        ("n100", "Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz", (), "Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz"),
        ("n100", "Intel(R) N150", (), "Intel(R) N150"),
    ],
)
def test_another_device_is_named(target, cpu, khz, said):
    assert fit.other_device(Facts(machine="m", cpu=cpu, max_khz=khz), targets.load(target)) == said


@pytest.mark.parametrize("name", ["rpi5", "orin-nano-8gb", "n100", "host"])
def test_a_target_survives_the_manifest(name):
    target = targets.load(name)
    device = Device(**{field: getattr(target, field) for field in Device.model_fields})
    carried = fit.target_of(SimpleNamespace(target=Device.model_validate_json(device.model_dump_json())))
    assert (carried.backend, carried.cores, carried.triple) == (target.backend, target.cores, target.triple)
