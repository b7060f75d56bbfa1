"""Whether a device can run a bundle at all, and is the target's kind of device: looked at before anything is pushed."""

from __future__ import annotations

import platform
import re
from collections import Counter

from edgedistill.bundle_manifest import Manifest
from edgedistill.devices import architecture
from edgedistill.devices.facts import Facts
from edgedistill.devices.faults import CpuLacksFeature, WrongArchitecture
from edgedistill.errors import DeviceError
from edgedistill.target import Target
from edgedistill.target_draft import ARM_PARTS

MIB = 1024 * 1024
_NOTHING = "nothing was pushed"
_CLOCKS_APART = 1.15
"""Boards of one kind are set up a little differently; a factor above this is another board, or an overclocked one."""


def target_of(manifest: Manifest) -> Target:
    """The bundle's target, as far as its manifest carries it: the runtime is built from these facts."""
    return Target(**dict(manifest.target))


def is_this_machine(triple: str) -> bool:
    """Whether a triple's architecture is this machine's."""
    return triple == "native" or architecture.runs_on(triple.partition("-")[0], platform.machine())


def other_device(facts: Facts, target: Target) -> str | None:
    """What the device is, where it is not of the target's kind: `4x Cortex-A55`, `4x Cortex-A53 at 1.4 GHz`. None where
    it is, or where nobody can tell: figures of another device prove nothing about the target.
    """
    if not target.cores or not facts.cpu:
        return None
    if not _has_cores_of(facts.cpu, target):
        return facts.cpu
    ghz, stated = max(facts.max_khz, default=0) / 1e6, target.cores[0].ghz
    is_near = not ghz or 1 / _CLOCKS_APART < ghz / stated < _CLOCKS_APART
    return None if is_near else f"{facts.cpu} at {ghz:.1f} GHz"


def _has_cores_of(cpu: str, target: Target) -> bool:
    """By kind and number, as Arm's cores tell them; a chip with a name of its own must be named in the target."""
    kinds = [(name.strip(), int(count)) for count, name in re.findall(r"(\d+)x ([^,]+)", cpu)]
    if kinds:
        return _ends(kinds) == _ends([(cores.type, cores.count) for cores in target.cores])
    named = _names(f"{target.title} {' '.join(cores.type for cores in target.cores)}")
    return not named or bool(named & _names(cpu))


def _ends(kinds: list[tuple[str, int]]) -> set[tuple[str, int]]:
    """The biggest and the smallest kind of core: of those between, a target may lump two together. Kinds by others than
    Arm have no names that both sides know.
    """
    known: Counter[str] = Counter()
    for name, count in kinds:
        known[name if name in ARM_PARTS.values() else "another's"] += count
    counted = list(known.items())
    return {counted[0], counted[-1]}


def _names(text: str) -> set[str]:
    """Words that name one chip: letters with digits, as `N100` and `i5-1235U`; `x86` is none."""
    words = re.findall(r"[a-z][\w-]*\d[\w-]*", text.lower())
    return {word for word in words if not word.startswith("x86")}


def check_machine(facts: Facts, machine: str, needs: tuple[str, ...], manifest: Manifest) -> None:
    """Architecture and instructions.

    machine  that the runtime is built for, as `uname -m` says it
    needs    instructions that it uses, as /proc/cpuinfo names them
    """
    title = manifest.target.title
    if not architecture.runs_on(machine, facts.machine):
        raise WrongArchitecture(
            f"the device is {facts.machine}, and the bundle is for {title}, {machine}",
            f"{_NOTHING}; build for a target of this device (`edgedistill targets`), or name another device",
        )
    if lacking := sorted(set(needs) - set(facts.cpu_features)) if facts.cpu_features else []:
        raise CpuLacksFeature(
            f"the runtime for {title} uses {', '.join(lacking)}, which the device's CPU does not have",
            f"{_NOTHING}; build for a target of this device: `edgedistill targets new --device ADDRESS` drafts one",
        )


def check_memory(facts: Facts, manifest: Manifest) -> None:
    """Memory for the model. The disk is looked at when files are pushed: what is there already needs no room."""
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
