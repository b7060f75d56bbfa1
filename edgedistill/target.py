"""A target: one device, its facts (each with a source) and its budgets. One YAML file = one device."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from edgedistill import yaml_file
from edgedistill.recipe import Budgets
from edgedistill.sections import NotIdentity, Section

Preference = Literal["fastest", "smallest", "most_accurate"]


class Fact(Section):
    """A number and where it comes from."""

    value: Annotated[float, Field(gt=0)]
    source: Annotated[str, Field(min_length=1)]
    """An address, or `measured by …, date`."""


class Cores(Section):
    """Cores of one type."""

    type: str
    """As the designer calls it, e.g. Cortex-A76."""
    count: Annotated[int, Field(ge=1)]
    ghz: Annotated[float, Field(gt=0)]
    """Highest clock that they keep under load."""
    lanes: Annotated[float, Field(gt=0)] = 2.0
    """128-bit vector instructions per cycle: 0.5 for a 64-bit unit, 4 for two of 256 bits."""
    big: bool = True
    """Whether a runtime should use them. Small cores beside big ones hold everybody up."""
    source: Annotated[str, Field(min_length=1)]


class Isa(Section):
    """Instructions that matter to a model's kernels."""

    features: Annotated[tuple[str, ...], Field(min_length=1)]
    """dotprod, i8mm, fp16, sve2, bf16; avx2, avx_vnni, avx512_vnni; neon where there is nothing else."""
    source: Annotated[str, Field(min_length=1)]


class Caches(Section):
    """Last levels, all cores together."""

    l2_kib: Annotated[int, Field(gt=0)]
    l3_kib: Annotated[int, Field(gt=0)] | None = None
    source: Annotated[str, Field(min_length=1)]


class Target(Section):
    """One device. targets/README.md explains each field and how to measure it."""

    name: str = ""
    """Taken from the file name."""
    title: str
    """The device as its maker calls it."""
    soc: str
    """Chip, with its cores."""
    kind: Literal["board", "phone", "x86", "mac"] = "board"
    """What it is like, where nothing else is known of its memory."""
    chip: str | None = None
    """Under which published measurements were fitted, where that is not the target's own name: rpi5-16gb is `rpi5`."""
    triple: str
    """What a runtime is built for, e.g. aarch64-linux-musl. `native` for this machine."""
    cpu: str
    """CPU name for the compiler, e.g. cortex_a76. `native` for this machine."""
    address: str | None = None
    """How the device is reached when no --device is given: `local`, `ssh://user@host`. None: not at hand."""
    backend: Literal["cpu", "gpu", "npu"] = "cpu"
    """What runs the model there."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that the runtime uses: the big cores. None: what this machine has."""
    cores: tuple[Cores, ...] = ()
    """Types of cores, the biggest first."""
    isa: Isa | None = None
    """Instruction sets of the big cores."""
    caches: Caches | None = None
    """Sizes of the last levels."""
    ram_mib: Fact | None = None
    """Memory of the board, MiB."""
    usable_ram_mib: Fact | None = None
    """What a model may use of it beside the system, MiB."""
    peak_gb_s: Fact | None = None
    """Theoretical memory rate: bus width times transfer rate, GB/s (1e9 bytes)."""
    copy_gb_s: Fact | None = None
    """Sustained memcpy of one big core, bytes copied, GB/s."""
    read_gb_s: Fact | None = None
    """Sustained memory read rate of all threads together, GB/s; measured on this very device."""
    sustained_share: Fact | None = None
    """Speed after five minutes of load over the speed of the first seconds, 0-1."""
    formats: tuple[str, ...] = ("gguf",)
    """Formats that have a runtime there."""
    budgets: Budgets = Budgets()
    """Limits that a bundle must keep, unless the recipe sets its own."""
    prefer: Preference = "fastest"
    """Which of the candidates that keep every limit ships: the one that answers soonest (first token and decoding of an
    answer of the task's usual length), the smallest file, or the most accurate one."""
    default_recipe: Annotated[str, NotIdentity] = "quickstart"
    """What `build` makes when no recipe is named."""


def load(name: str) -> Target:
    """A target by shipped name, or by path of its YAML file."""
    path = yaml_file.find("targets", name)
    return yaml_file.parse(Target, yaml_file.read(path), f"target `{path.stem}`", path, {"name": path.stem})


def doubts(made: Target) -> list[str]:
    """What reads like a mistake, or keeps the device from being predicted; nothing of it makes the file unusable."""
    found = []
    for name in (
        "ram_mib",
        "usable_ram_mib",
        "peak_gb_s",
        "copy_gb_s",
        "read_gb_s",
        "sustained_share",
        "isa",
        "caches",
    ):
        stated = getattr(made, name)
        if stated and not _SOURCE.search(stated.source):
            found.append(f"{name}: its source is neither an address nor `measured by …, date`")
    found += guesses(made)
    if made.ram_mib and made.usable_ram_mib and made.usable_ram_mib.value >= made.ram_mib.value:
        found.append("usable_ram_mib: as much as the whole memory; a system takes some of it")
    if made.peak_gb_s and made.copy_gb_s and made.copy_gb_s.value >= made.peak_gb_s.value:
        found.append("copy_gb_s: more than the theoretical peak_gb_s")
    if made.cpu == "native" and made.triple != "native":
        found.append("cpu: `native` goes with `triple: native` alone; write the compiler's name, e.g. cortex_a76")
    big = sum(cores.count for cores in made.cores if cores.big)
    if big and made.threads and made.threads != big:
        found.append(f"threads: {made.threads}, but {big} big cores")
    if made.address is None and not (big and (made.peak_gb_s or made.copy_gb_s or made.read_gb_s)):
        found.append("without cores, and peak_gb_s or copy_gb_s, its speed is not predicted")
    return found


def guesses(made: Target) -> list[str]:
    """Clocks that nobody read: a draft has them where the system does not tell."""
    return [
        f"cores: the {cores.ghz:g} GHz of {cores.type} are a guess; write its clock under load, and where that is from"
        for cores in made.cores
        if "clock is a guess" in cores.source
    ]


_SOURCE = re.compile(r"https?://|measured by .*20\d\d-\d\d-\d\d", re.DOTALL)
