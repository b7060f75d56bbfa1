"""A target: one device, its facts (each with a source) and its budgets. One YAML file = one device."""

from __future__ import annotations

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


class Target(Section):
    """One device. targets/README.md explains each field and how to measure it."""

    name: str = ""
    """Taken from the file name."""
    title: str
    """The device as its maker calls it."""
    soc: str
    """Chip, with its cores."""
    triple: str
    """What a runtime is built for, e.g. aarch64-linux-musl. `native` for this machine."""
    cpu: str
    """CPU name for the compiler, e.g. cortex_a76. `native` for this machine."""
    address: str | None = None
    """How the device is reached when no --device is given: `local`, `ssh://user@host`. None: not at hand."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that the runtime uses: the big cores. None: what this machine has."""
    ram_mib: Fact | None = None
    """Memory of the board, MiB."""
    usable_ram_mib: Fact | None = None
    """What a model may use of it beside the system, MiB."""
    read_gb_s: Fact | None = None
    """Sustained memory read rate of all threads together, GB/s (1e9 bytes)."""
    compute_gops: Fact | None = None
    """Sustained multiply-adds of the 8-bit and 4-bit kernels over all threads, 1e9 operations/s (2 per weight)."""
    token_overhead_ms: Fact | None = None
    """Fixed cost of one decoded token: graph, threads, sampling, milliseconds."""
    runtime_mib: Fact | None = None
    """Memory of the runtime without a model, MiB."""
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
