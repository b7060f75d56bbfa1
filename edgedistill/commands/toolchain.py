"""`toolchain`: what builds need beside this package's own environment, where it lies, and how it gets there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edgedistill import table
from edgedistill import target as targets
from edgedistill.toolchain import compilers, llama_cpp, optimum, runtime


@dataclass(frozen=True)
class Tool:
    """One part that is fetched once and kept in the user's cache folder."""

    what_for: str
    folder: Callable[[], Path]
    install: Callable[[], Path]

    @property
    def is_here(self) -> bool:
        return llama_cpp.is_complete(self.folder())


TOOLS = {
    "converter": Tool("GGUF candidates", llama_cpp.sources_folder, llama_cpp.llama_cpp_sources),
    "compilers": Tool("runtimes for devices (--target)", compilers.folder, compilers.install),
    "optimum": Tool("plain ONNX candidates (exporter onnx_optimum)", optimum.folder, optimum.install),
}


def list_all(as_json: bool) -> int:
    """Every tool, whether it is here, and the runtimes that were built."""
    rows = [
        {"name": name, "is_here": tool.is_here, "folder": str(tool.folder()), "what_for": tool.what_for}
        for name, tool in TOOLS.items()
    ]
    built = runtime.here()
    if as_json:
        click.echo(json.dumps({"tools": rows, "runtimes": built}, indent=2))
        return 0
    shown = [[name, "here" if tool.is_here else "no", tool.what_for] for name, tool in TOOLS.items()]
    click.echo("\n".join(table.lines(["tool", "installed", "for"], shown)))
    if built:
        rows_of = [(line["triple"], line["cpu"], line["state"], _programs(line)) for line in built]
        click.echo("\n".join(["", *table.lines(["runtime", "cpu", "state", "programs"], rows_of)]))
    else:
        click.echo("\nno runtime was built yet; `edgedistill toolchain install --target rpi5` builds one")
    return 0


def _programs(line: dict[str, Any]) -> str:
    if line["programs"]:
        return ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in line["programs"].items())
    return f"{line['bytes'] / 2**20:,.0f} MiB of work in {line['folder']}"


def install(names: tuple[str, ...], built_for: tuple[str, ...] = (), jobs: int | None = None) -> int:
    """Fetch or make the tools that are not here yet, build runtimes for targets; prints where each lies."""
    wanted = [targets.load(name) for name in built_for]
    for target in wanted:
        runtime.runtime_of(target)  # refused before anything is fetched
    for name in names:
        click.echo(f"{name}: {TOOLS[name].install()}")
    for target in wanted:
        click.echo(f"{target.name}: {runtime.install(target, jobs)}")
    return 0
