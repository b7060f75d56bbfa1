"""`toolchain`: what builds need beside this package's own environment, where it lies, and how it gets there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from edgedistill import table
from edgedistill.toolchain import llama_cpp, optimum


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
    "optimum": Tool("plain ONNX candidates (exporter onnx_optimum)", optimum.folder, optimum.install),
}


def list_all(as_json: bool) -> int:
    """Every tool, and whether it is here."""
    rows = [
        {"name": name, "is_here": tool.is_here, "folder": str(tool.folder()), "what_for": tool.what_for}
        for name, tool in TOOLS.items()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        shown = [[name, "here" if tool.is_here else "no", tool.what_for] for name, tool in TOOLS.items()]
        click.echo("\n".join(table.lines(["tool", "installed", "for"], shown)))
    return 0


def install(names: tuple[str, ...]) -> int:
    """Fetch or make the tools that are not here yet; prints where each lies."""
    for name in names:
        click.echo(f"{name}: {TOOLS[name].install()}")
    return 0
