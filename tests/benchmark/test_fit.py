"""What is refused before anything is pushed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgedistill.benchmark import fit
from edgedistill.bundle_manifest import Device
from edgedistill.devices.facts import Facts
from edgedistill.devices.faults import CpuLacksFeature, DiskFull, WrongArchitecture
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


@pytest.fixture
def model(tmp_path) -> Path:
    """400 MiB that take no room."""
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(400 * MIB)
    return path


def test_a_device_that_fits_is_let_through(model):
    fit.check_machine(FACTS, "aarch64", ("asimddp",), bundle())
    fit.check_room(FACTS, bundle(), [model])


def test_another_architecture_is_named(model):
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


def test_a_full_disk_says_what_is_needed(model):
    facts = Facts(machine="aarch64", disk_free_bytes=410 * MIB)
    with pytest.raises(DiskFull, match=r"410 MiB of disk free, and 416 MiB are needed for model\.gguf"):
        fit.check_room(facts, bundle(), [model])


def test_too_little_memory_says_what_is_needed(model):
    facts = Facts(machine="aarch64", available_bytes=427 * MIB)
    with pytest.raises(DeviceError, match="427 MiB of memory available, and the model needs at least 450 MiB") as found:
        fit.check_room(facts, bundle(), [model])
    assert found.value.exit_code == 3 and "nothing was pushed" in found.value.hint


def test_without_a_prediction_the_file_must_fit(model):
    facts = Facts(machine="aarch64", available_bytes=399 * MIB)
    with pytest.raises(DeviceError, match="at least 400 MiB"):
        fit.check_room(facts, bundle(memory_mib=None), [model])
