"""`doctor`: whether this machine can build, and what to do where it cannot. Asks nothing of the network."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from edgedistill import table
from edgedistill.errors import UsageError
from edgedistill.toolchain import llama_cpp
from edgedistill.transports.qemu import EMULATORS

PINNED = f"{llama_cpp.PACKAGE}=={llama_cpp.VERSION}"
MIN_DISK_GIB = 2
MIN_MEMORY_GIB = 3
"""Peak of the embedded default's largest stage."""

_LOOKS: table.Styles = {"ok": {"fg": "green"}, "note": {"fg": "yellow"}, "MISSING": {"fg": "red", "bold": True}}


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    status: str
    """`ok`, `optional` (not here, and a build does without), `note` (works, but slowly or only just) or `MISSING` (a
    build would fail)."""
    found: str
    todo: str = ""


def run(runs: Path, as_json: bool) -> int:
    """Print every finding; 2 when something is missing."""
    findings = list(examine(runs))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [(f.what, f.status, f.found) for f in findings]
        click.echo("\n".join(table.lines(("what", "status", "found"), rows, styles=_LOOKS)))
        for finding in findings:
            if finding.todo:
                click.echo(f"\n{finding.what}: {finding.todo}")
    return UsageError.exit_code if any(finding.status == "MISSING" for finding in findings) else 0


def examine(runs: Path) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _importable("torch", "`pip install --force-reinstall torch`")
    yield _importable("llama_cpp", f"it is compiled where it is installed: `pip install --force-reinstall {PINNED}`")
    yield _compiler()
    yield _converter()
    yield _folder("work folder", runs, MIN_DISK_GIB, "give another one with `--runs`, or free some space")
    yield _folder("cache folder", llama_cpp.cache_folder(), 1, "set XDG_CACHE_HOME to a folder that can be written")
    yield _cores()
    yield _memory()
    yield _program("ssh", ("ssh",), "for boards and computers elsewhere, `--device ssh://user@host`")
    yield _program("adb", ("adb",), "for Android phones, `--device adb`")
    yield _program("qemu-aarch64", EMULATORS, "to try Arm programs on this machine, `--device qemu://cortex-a76`")


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    """Everything that the package declares, against what is installed."""
    wanted = [r for r in metadata.requires("edgedistill") or [] if "extra ==" not in r]
    wrong = list(filter(None, map(_package, wanted)))
    yield from wrong
    if not wrong:
        shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "trl"))
        yield Finding("packages", "ok", f"{len(wanted)} of {len(wanted)}: {shown} …")


def _package(requirement: str) -> Finding | None:
    """What is wrong with one requirement, if anything. pyproject.toml uses `>=` and `==` only."""
    parts = re.match(r"([\w.-]+)(.*)", requirement)
    assert parts is not None, requirement
    name, wanted = parts.groups()
    try:
        have = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "MISSING", f"not installed, wanted {wanted}", f"`pip install '{requirement}'`")
    for sign, limit in re.findall(r"(>=|==)\s*([\w.]+)", wanted):
        if _numbers(have) < _numbers(limit) or (sign == "==" and have != limit):
            return Finding(name, "MISSING", f"{have}, wanted {wanted}", f"`pip install '{requirement}'`")
    return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.match(r"[\d.]*", version)[0].strip(".").split(".")]  # type: ignore[index]


def _importable(module: str, todo: str) -> Finding:
    """In a process of its own: a broken library can end the process that loads it."""
    command = [sys.executable, "-c", f"import {module}; print({module}.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return Finding(module, "MISSING", "does not load within 300 s", todo)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return Finding(module, "MISSING", f"does not load: {said[-1]}", todo)
    return Finding(module, "ok", f"{done.stdout.strip()} loads")


def _compiler() -> Finding:
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
    if found:
        return Finding("C++ compiler", "ok", found)
    todo = "needed only to install llama-cpp-python from source; e.g. `apt-get install g++`"
    return Finding("C++ compiler", "note", "none found", todo)


def _converter() -> Finding:
    folder = llama_cpp.sources_folder()
    if llama_cpp.is_complete(folder):
        return Finding("converter", "ok", str(folder))
    return Finding("converter", "note", "not here yet", "the first build fetches it with pip, 76 MB")


def _folder(what: str, folder: Path, needed_gib: int, todo: str) -> Finding:
    """Can be written, and has room."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding(what, "MISSING", f"{folder} cannot be written", todo)
    free_gib = shutil.disk_usage(nearest).free / 2**30
    status = "ok" if free_gib >= needed_gib else "MISSING"
    return Finding(what, status, f"{folder}, {free_gib:,.1f} GiB free", todo if status != "ok" else "")


def _cores() -> Finding:
    usable, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    if load > usable / 2:
        return Finding("cores", "note", f"{usable}, load {load:.1f}", "other work slows builds, spoils measurements")
    return Finding("cores", "ok", f"{usable}, load {load:.1f}")


def _memory() -> Finding:
    import psutil

    free_gib = psutil.virtual_memory().available / 2**30
    if free_gib < MIN_MEMORY_GIB:
        todo = f"recipe quickstart takes up to {MIN_MEMORY_GIB} GiB; end other programs"
        return Finding("memory", "note", f"{free_gib:.1f} GiB free", todo)
    return Finding("memory", "ok", f"{free_gib:.1f} GiB free")


def _program(what: str, names: tuple[str, ...], purpose: str) -> Finding:
    """A way to devices. Whoever has no such device needs none."""
    found = next(filter(None, map(shutil.which, names)), None)
    return Finding(what, "ok" if found else "optional", f"{found or 'not here'}; {purpose}")
