"""llama.cpp's own programs, built for a target's processor: what runs and measures a GGUF file on the device.

They are static: a folder of three files that any Linux of that processor starts, whatever its C library. They come
from the same pinned source as the binding and the converter.

    ~/.cache/edgedistill/runtime-aarch64-linux-musl-cortex_a76-<key>/             manifest.json is written last
    ~/.cache/edgedistill/runtime-aarch64-linux-musl-cortex_a76-<key>.building/    work in progress, and the log

key = sha256(source archive, triple, processor, CMake options, versions of the compilers, VERSION).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.errors import IntegrityError, StageFailed, UsageError
from edgedistill.files import licence_texts, read_json, sha256_of, size_of, write_json
from edgedistill.locks import held
from edgedistill.log import say
from edgedistill.store import is_whole
from edgedistill.target import Target
from edgedistill.toolchain import cmake_build, compilers, elf, instructions, llama_cpp
from edgedistill.toolchain.cmake_build import Project
from edgedistill.toolchain.compilers import Compilers

SCHEMA = "edgedistill.runtime/1"
PROGRAMS = ("llama-server", "llama-bench", "llama-cli")
VERSION = 1
"""Raise it when the way of building changes, and cmake_build.py's settings with it."""

OPTIONS = (
    "GGML_NATIVE=OFF",  # -mcpu says it all: zig refuses -march, and `native` would mean the machine that builds
    "GGML_OPENMP=OFF",
    "GGML_CCACHE=OFF",
    *(f"GGML_{name}=OFF" for name in ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C", "AVX_VNNI", "AVX512")),
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_APP=OFF",
    "LLAMA_BUILD_UI=OFF",
    "LLAMA_USE_PREBUILT_UI=OFF",  # else it is fetched while building
    "LLAMA_OPENSSL=OFF",
    "LLAMA_SUBPROCESS=OFF",  # the server would start other programs for agents and video
    "LLAMA_BUILD_NUMBER=0",  # else those of a repository that the cache folder may lie in
    f"LLAMA_BUILD_COMMIT={llama_cpp.PACKAGE}-{llama_cpp.VERSION}",
)

_LINUX = re.compile(r"(aarch64|x86_64)-linux(-musl|-gnu|-android)?")
_CPU = re.compile(r"\w+(\+\w+)*")
"""With features that it has beside the usual ones: cortex_a72+crypto."""
_ANDROID = """\
note: for Android this is a static Linux program, started from `adb shell` in /data/local/tmp. It was not tried on a
      phone, and an app needs llama.cpp built with Google's NDK, which is not done here"""
_MACOS = """\
Metal and Accelerate come with Apple's SDK: on the Mac itself, `brew install llama.cpp` has the same programs;
      without --device the figures of the target are predicted"""


@dataclass(frozen=True)
class Runtime:
    """The programs for one processor, there or not."""

    triple: str
    cpu: str
    processor: str = ""
    """Which one `native` means, as a digest."""

    @property
    def machine(self) -> str:
        """As `uname -m` says it."""
        return self.triple.partition("-")[0]

    @property
    def key(self) -> str:
        """Of what changes the files; 64 bits. How cmake_build.py calls CMake and zig stands in it as VERSION alone."""
        parts = [SCHEMA, VERSION, llama_cpp.SHA256, self.triple, self.cpu, self.processor, OPTIONS, compilers.PINS]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def identity(self) -> str:
        """For the store."""
        return self.key

    @property
    def folder(self) -> Path:
        return llama_cpp.cache_folder() / f"runtime-{self.triple}-{self.cpu}-{self.key}"

    @property
    def building(self) -> Path:
        """Where it is being built."""
        return self.folder.with_name(f"{self.folder.name}.building")


def runtime_of(target: Target) -> Runtime:
    """What a target's device needs. Raises UsageError where it cannot be built here, with what to do."""
    if target.triple == "native":
        if platform.system() != "Linux":
            raise UsageError(f"runtimes are built for Linux only, and this is {platform.system()}", _MACOS)
        return Runtime(f"{platform.machine()}-linux-musl", "native", instructions.of_this_machine())
    if target.cpu == "native":
        raise UsageError(
            f"target `{target.name}`: `cpu: native` is the machine that builds, and {target.triple} may be another",
            "write the compiler's name of the device's CPU, e.g. cortex_a76; or `triple: native` for this very machine",
        )
    found = _LINUX.fullmatch(target.triple)
    if found and not _CPU.fullmatch(target.cpu):
        raise UsageError(
            f"target `{target.name}`: `{target.cpu}` is no CPU's name", "as the compiler has them: cortex_a76"
        )
    if found:
        # Also for -gnu and -android: a static file brings its own C library.
        return Runtime(f"{found[1]}-linux-musl", target.cpu)
    raise UsageError(
        f"target `{target.name}`: {target.triple} is not built for here, only aarch64-linux and x86_64-linux",
        _MACOS if "macos" in target.triple else "",
    )


def installed(target: Target) -> Path | None:
    """The folder with the programs and manifest.json, or None where they were not built. Raises as runtime_of()."""
    folder = runtime_of(target).folder
    return folder if is_whole(folder) else None


def install(target: Target, jobs: int | None = None) -> Path:
    """The folder with the programs, built now if need be: some 10 minutes on two cores.

    Raises  UsageError for a target that cannot be built for, StageFailed with the log's place when a step fails
    """
    made = runtime_of(target)
    if target.backend != "cpu":
        say(f"note: {target.title} has a {target.backend.upper()} that this build does not use; it runs on the CPU")
    if "android" in target.triple:
        say(_ANDROID)
    made.folder.parent.mkdir(parents=True, exist_ok=True)
    with held(made.folder.with_name(f"{made.folder.name}.lock"), f"the runtime for {made.triple} {made.cpu}"):
        if not is_whole(made.folder):
            _make(made, compilers.programs(), jobs or _jobs())
    return made.folder


def shipped(target: Target) -> Runtime:
    """The runtime that goes into a bundle, built now if need be. Raises as install()."""
    install(target)
    return runtime_of(target)


def manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a runtime, after every file was checked against it.

    Raises  IntegrityError that names the file which is missing or changed
    """
    if not is_whole(folder):
        raise IntegrityError(f"{folder} holds no whole runtime", "`edgedistill toolchain install` builds it")
    content: dict[str, Any] = read_json(folder / "manifest.json")
    for name, file in content["files"].items():
        if (found := sha256_of(folder / name)) != file["sha256"]:
            raise IntegrityError(f"{folder / name} has sha256 {found}, expected {file['sha256']}", f"delete {folder}")
    return content


def _make(made: Runtime, tools: Compilers, jobs: int) -> None:
    source = llama_cpp.compiled_sources()
    needs = _needs(made, tools)
    made.building.mkdir(parents=True, exist_ok=True)
    say(
        f"building {', '.join(PROGRAMS)} for {made.triple} {made.cpu}, {jobs} at a time; log: {made.building}/build.log"
    )
    project = Project(source, PROGRAMS, made.triple, made.cpu, OPTIONS)
    try:
        built = cmake_build.build(project, made.building, tools, jobs)
    except KeyboardInterrupt as interrupted:
        interrupted.add_note("what was compiled is kept; the same command goes on with it")
        raise
    _check(made, built)
    whole = made.building / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    (whole / "LICENSES").mkdir(parents=True)
    for name, path in built.items():
        shutil.copy(path, whole / name)
    licences = {"llama.cpp": source / "LICENSE", **{text.stem: text for text in licence_texts(source / "licenses")}}
    for name, path in {**licences, **tools.licences}.items():
        shutil.copyfile(path, whole / "LICENSES" / name)
    write_json(whole / "manifest.json", _manifest(made, needs, whole))
    shutil.rmtree(made.folder, ignore_errors=True)  # where files were lost
    whole.rename(made.folder)
    shutil.rmtree(made.building, ignore_errors=True)


def _manifest(made: Runtime, needs: tuple[str, ...], folder: Path) -> dict[str, Any]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        "schema": SCHEMA,
        "key": made.key,
        "llama.cpp": {"package": llama_cpp.PACKAGE, "version": llama_cpp.VERSION, "sha256": llama_cpp.SHA256},
        "triple": made.triple,
        "cpu": made.cpu,
        "needs": list(needs),  # instructions, as /proc/cpuinfo names them
        "options": list(OPTIONS),
        "compilers": list(compilers.PINS),
        "files": {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in files
        },
    }


def _needs(made: Runtime, tools: Compilers) -> tuple[str, ...]:
    try:
        return instructions.needed(cmake_build.macros(made.triple, made.cpu, tools))
    except ValueError as error:
        names = [line.strip() for line in str(error).splitlines() if line.startswith(" ")]
        near = difflib.get_close_matches(made.cpu, names) or names
        raise UsageError(
            f"the compiler knows no CPU `{made.cpu}` for {made.machine}", f"near: {', '.join(near)}"
        ) from None


def _check(made: Runtime, built: dict[str, Path]) -> None:
    """What was built is what was asked for; a file for this very machine must also start."""
    for name, path in built.items():
        found = elf.read(path)
        if found != elf.Elf(made.machine, is_static=True, is_stripped=True):
            raise StageFailed(f"{name} was built as {found}, wanted a static, stripped one for {made.machine}")
    if made.cpu == "native":
        done = subprocess.run([built["llama-server"], "--version"], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise StageFailed(f"llama-server ends with code {done.returncode} here\n{done.stderr.strip()[-500:]}")


def _jobs() -> int:
    """As many compilers at a time as there are cores, and as memory holds; a large file takes a GiB."""
    import psutil

    gib = int(psutil.virtual_memory().available / 2**30)
    return max(1, min(len(os.sched_getaffinity(0)), gib))


def here() -> list[dict[str, Any]]:
    """Every runtime in the cache folder: triple, cpu, files with their bytes, and `state`.

    whole         built from the present pins
    half built    an interrupted or failed build, which the next one goes on with
    outdated      built from other pins or options; it can be deleted
    """
    found = []
    for folder in sorted(llama_cpp.cache_folder().glob("runtime-*-*")):
        if not folder.is_dir():
            continue
        triple, cpu, key = _parts(folder.name.removesuffix(".building"))
        native = instructions.of_this_machine() if cpu == "native" else ""
        state = "whole" if is_whole(folder) else "half built"
        if Runtime(triple, cpu, native).key != key:
            state = "outdated"
        programs = {name: (folder / name).stat().st_size for name in PROGRAMS if (folder / name).is_file()}
        line = {"triple": triple, "cpu": cpu, "state": state, "programs": programs, "bytes": size_of(folder)}
        found.append({**line, "folder": str(folder)})
    return found


def _parts(name: str) -> tuple[str, str, str]:
    """runtime-TRIPLE-CPU-KEY; only the triple has dashes."""
    head, cpu, key = name.rsplit("-", 2)
    return head.removeprefix("runtime-"), cpu, key
