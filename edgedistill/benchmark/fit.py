"""Whether a device can run a bundle at all: looked at before anything is pushed."""

from __future__ import annotations

import platform
from pathlib import Path

from edgedistill.bundle_manifest import Manifest
from edgedistill.devices.facts import Facts
from edgedistill.devices.faults import CpuLacksFeature, DiskFull, WrongArchitecture
from edgedistill.errors import DeviceError
from edgedistill.files import size_of
from edgedistill.target import Target

MIB = 1024 * 1024
_SAME = {"arm64": "aarch64", "amd64": "x86_64"}
"""As some systems call it -> as Linux does."""
_SPARE = 16 * MIB
"""Of the disk, for logs and the system."""
_NOTHING = "nothing was pushed"


def target_of(manifest: Manifest) -> Target:
    """The bundle's target, as far as its manifest carries it: the runtime is built from these facts."""
    device = manifest.target
    return Target(
        name=device.name,
        title=device.title,
        soc=device.soc,
        triple=device.triple,
        cpu=device.cpu,
        threads=device.threads,
    )


def is_this_machine(triple: str) -> bool:
    """Whether a triple's architecture is this machine's."""
    own = platform.machine()
    return triple == "native" or triple.partition("-")[0] == _SAME.get(own, own)


def check_machine(facts: Facts, machine: str, needs: tuple[str, ...], manifest: Manifest) -> None:
    """Architecture and instructions.

    machine  that the runtime is built for, as `uname -m` says it
    needs    instructions that it uses, as /proc/cpuinfo names them
    """
    own = _SAME.get(facts.machine, facts.machine)
    title = manifest.target.title
    if own != _SAME.get(machine, machine):
        raise WrongArchitecture(
            f"the device is {facts.machine}, and the bundle is for {title}, {machine}",
            f"{_NOTHING}; build for a target of this device (`edgedistill targets`), or name another device",
        )
    if lacking := sorted(set(needs) - set(facts.cpu_features)) if facts.cpu_features else []:
        raise CpuLacksFeature(
            f"the runtime for {title} uses {', '.join(lacking)}, which the device's CPU does not have",
            f"{_NOTHING}; build for a target of this device: `edgedistill targets new --device ADDRESS` drafts one",
        )


def check_room(facts: Facts, manifest: Manifest, files: list[Path]) -> None:
    """Memory for the model, and disk for what will be pushed."""
    needed = sum(map(size_of, files)) + _SPARE
    if facts.disk_free_bytes is not None and facts.disk_free_bytes < needed:
        raise DiskFull(
            f"the device has {facts.disk_free_bytes / MIB:,.0f} MiB of disk free, and {needed / MIB:,.0f} MiB are "
            f"needed for {', '.join(path.name for path in files)}",
            f"{_NOTHING}; free some space there",
        )
    least = least_mib(manifest)
    if facts.available_bytes is not None and facts.available_bytes / MIB < least:
        raise DeviceError(
            f"the device has {facts.available_bytes / MIB:,.0f} MiB of memory available, and the model needs at least "
            f"{least:,.0f} MiB; it would page or be killed",
            f"{_NOTHING}; end other programs there, or build with smaller quants",
        )


def least_mib(manifest: Manifest) -> float:
    """What the runtime with the model needs at the very least: the file, and what is known of the rest."""
    memory = manifest.chosen.get("memory_mib") or {}
    file_mib = float(manifest.chosen["bytes"]) / MIB
    return max(file_mib, float(memory.get("low") or 0.0))
