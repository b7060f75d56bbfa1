"""What is decided of a device before anything is pushed, for devices that only tell what they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgedistill import target as targets
from edgedistill.benchmark import setup
from edgedistill.benchmark.setup import Setup
from edgedistill.bundle_manifest import Device
from edgedistill.devices.facts import Facts
from edgedistill.errors import DeviceError

PI5 = Facts(machine="aarch64", cpu="4x Cortex-A76", cores=4)
USERLAND = Facts(machine="aarch64", cpu="AMD EPYC", cores=2)
"""Programs for Arm under an emulator: /proc/cpuinfo is that of the machine below."""


@pytest.fixture
def settled(tmp_path) -> Any:
    """(facts, evidence, target) -> what is decided for a bundle of that target. ONNX, which needs no programs there."""

    def make(facts: Facts, evidence: str = "measured", target: str = "rpi5") -> Setup:
        found = targets.load(target)
        device = Device(**{name: getattr(found, name) for name in Device.model_fields})
        chosen = {"format": "onnx_genai", "bytes": 400 * 2**20, "sha256": "0", "memory_mib": None}
        manifest: Any = SimpleNamespace(target=device, chosen=chosen, conditions={})
        there: Any = SimpleNamespace(evidence=evidence, address="ssh://pi@board", facts=lambda: facts)
        return setup.of(tmp_path, manifest, there)

    return make


def test_the_targets_own_device_is_no_other(settled):
    conditions = settled(PI5).conditions
    assert conditions["other_device"] is None and (conditions["backend"], conditions["target_backend"]) == (
        "cpu",
        "cpu",
    )


def test_another_device_goes_into_the_conditions_and_is_said(settled, capsys):
    assert settled(Facts(machine="aarch64", cpu="4x Cortex-A55")).conditions["other_device"] == "4x Cortex-A55"
    assert "the device is 4x Cortex-A55, not Raspberry Pi 5" in capsys.readouterr().err


def test_an_emulated_device_is_not_held_to_the_machine_below_it(settled):
    assert settled(USERLAND, "emulated").conditions["other_device"] is None
    assert settled(USERLAND).conditions["other_device"] == "AMD EPYC"


def test_this_machine_is_whatever_it_is(settled):
    assert settled(Facts(machine="x86_64", cpu="AMD EPYC"), target="host").conditions["other_device"] is None


def test_what_really_ran_stands_beside_what_the_target_names(settled):
    conditions = settled(Facts(machine="aarch64", cpu="6x Cortex-A78AE"), target="orin-nano-8gb").conditions
    assert (conditions["backend"], conditions["target_backend"]) == ("cpu", "gpu")


def test_memory_is_looked_at_for_onnx_too_and_the_disk_is_not(settled):
    settled(Facts(machine="aarch64", available_bytes=500 * 2**20, disk_free_bytes=0))
    with pytest.raises(DeviceError, match="399 MiB of memory available, and the model needs at least 400 MiB"):
        settled(Facts(machine="aarch64", available_bytes=399 * 2**20))
