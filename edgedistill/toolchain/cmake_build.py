"""A CMake project compiled by zig for another processor, into static programs that run on any Linux of it.

<folder>/cc, c++, ar, ranlib    what CMake takes for compilers: zig, told the processor
<folder>/cmake/                 CMake's and Ninja's work; a rerun goes on with it
<folder>/build.log              everything they said in the last run
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from edgedistill.errors import StageFailed
from edgedistill.files import write_text
from edgedistill.log import progress
from edgedistill.toolchain.compilers import Compilers

_OF_THE_USER = ("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME")
"""All that is passed on: CFLAGS and the like would change what comes out without changing its name."""
_LAST_LINES = 12
_DONE = re.compile(r"\[(\d+)/(\d+)\] ")
"""How Ninja counts."""


@dataclass(frozen=True)
class Project:
    """What is to be built, and for what."""

    source: Path
    """The folder with `CMakeLists.txt`."""
    programs: tuple[str, ...]
    """Executable targets; nothing else of the project is built."""
    triple: str
    """For zig, e.g. aarch64-linux-musl."""
    cpu: str
    """For zig, e.g. cortex_a76."""
    options: tuple[str, ...] = ()
    """CMake's, e.g. `GGML_OPENMP=OFF`."""

    @property
    def label(self) -> str:
        return f"{self.triple} {self.cpu}"


def build(project: Project, folder: Path, compilers: Compilers, jobs: int) -> dict[str, Path]:
    """Configure and compile; program -> its file. Goes on where an earlier run in the same folder stopped.

    Raises  StageFailed that names the step, its last words and the log
    """
    _write_compilers(project, folder, compilers)
    work, log = folder / "cmake", folder / "build.log"
    log.unlink(missing_ok=True)
    environment = {name: os.environ[name] for name in _OF_THE_USER if name in os.environ}
    environment |= {"LC_ALL": "C", **_zig_caches(compilers, folder)}
    with closing(_said(_configuration(project, folder, compilers), environment, log)) as lines:
        if None in lines:
            raise _failed(project, "configure", "", log)
    _compile(project, [str(compilers.ninja), "-C", str(work), "-j", str(jobs), *project.programs], environment, log)
    return {name: work / "bin" / name for name in project.programs}


def macros(triple: str, cpu: str, compilers: Compilers) -> str:
    """What the compiler defines for a processor. Raises ValueError with zig's words for one that it does not know."""
    command = [str(compilers.zig), "cc", "-target", triple, f"-mcpu={cpu}", "-E", "-dM", "-x", "c", os.devnull]
    environment = {**os.environ, **_zig_caches(compilers, compilers.cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def _zig_caches(compilers: Compilers, folder: Path) -> dict[str, str]:
    """The C libraries that zig compiles for a processor serve every build for it; objects go with the build."""
    return {"ZIG_GLOBAL_CACHE_DIR": str(compilers.cache), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}


def _write_compilers(project: Project, folder: Path, compilers: Compilers) -> None:
    """Wrappers, since CMake wants one program each. Without the prefix maps, asserts would carry this machine's paths
    into the binary, and two machines would never make the same one."""
    for name in ("cc", "c++", "ar", "ranlib"):
        words = [str(compilers.zig), name]
        if name in ("cc", "c++"):
            words += ["-target", project.triple, f"-mcpu={project.cpu}"]
            words += [f"-ffile-prefix-map={path}={to}" for path, to in ((project.source, "."), (folder, "build"))]
        text = f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text).chmod(0o755)


def _configuration(project: Project, folder: Path, compilers: Compilers) -> list[str]:
    values = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_MAKE_PROGRAM": compilers.ninja,
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": project.triple.partition("-")[0],
        "CMAKE_C_COMPILER": folder / "cc",
        "CMAKE_CXX_COMPILER": folder / "c++",
        "CMAKE_ASM_COMPILER": folder / "cc",
        "CMAKE_AR": folder / "ar",
        "CMAKE_RANLIB": folder / "ranlib",
        "CMAKE_RUNTIME_OUTPUT_DIRECTORY": folder / "cmake" / "bin",
        # musl gives a thread the stack that the file's header asks for.
        "CMAKE_EXE_LINKER_FLAGS": "-static -s -Wl,-z,stack-size=8388608",
        "BUILD_SHARED_LIBS": "OFF",
    }
    settings = [*(f"{name}={value}" for name, value in values.items()), *project.options]
    places = ["-G", "Ninja", "-S", str(project.source), "-B", str(folder / "cmake")]
    return [str(compilers.cmake), *places, *(f"-D{setting}" for setting in settings)]


def _compile(project: Project, command: list[str], environment: dict[str, str], log: Path) -> None:
    """Run Ninja, its count shown as progress."""
    step, finished = "", 0
    counting = {**environment, "NINJA_STATUS": "[%f/%t] "}
    with closing(_said(command, counting, log)) as lines, ExitStack() as shown:
        advance = None
        for line in lines:
            if line is None:
                raise _failed(project, "compile", step, log)
            if found := _DONE.match(line):
                step, now = line[found.end() :].strip(), int(found[1])
                advance = advance or shown.enter_context(progress(project.label, int(found[2])))
                advance(now - finished)
                finished = now


def _said(command: list[str], environment: dict[str, str], log: Path) -> Generator[str | None]:
    """The lines of a program, as they come; all go into the log. None comes last where it failed.

    When this process is killed, Ninja ends at the next line that nobody reads.
    """
    with log.open("a", encoding="utf-8", buffering=1) as file:
        file.write(f"$ {shlex.join(command)}\n")
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        with process:
            assert process.stdout
            try:
                for line in process.stdout:
                    file.write(line)
                    yield line
            finally:
                if process.poll() is None:
                    # All of it: CMake's Ninja too. A Ninja ends its compilers, and removes what they had half written.
                    os.killpg(process.pid, signal.SIGTERM)
    if process.returncode:
        yield None


def _failed(project: Project, step: str, at: str, log: Path) -> StageFailed:
    text = log.read_text(encoding="utf-8", errors="replace")
    words = "\n".join(f"  {line[:300]}" for line in _last_words(text))
    todo = "the same command goes on where this one stopped"
    if "No space left on device" in text:
        todo = f"free some space where {log.parent} lies; {todo}"
    at = f" at {at}" if at else ""
    return StageFailed(
        f"building for {project.label} failed in step `{step}`{at}\n{words}", f"log: {log}\n      {todo}"
    )


def _last_words(text: str) -> list[str]:
    """What says why: from the first error of CMake, or from what Ninja shows of the first compiler that failed."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("CMake Error"):
            return lines[number : number + _LAST_LINES]
        if line.startswith("FAILED:"):
            return [line, *lines[number + 2 : number + 1 + _LAST_LINES]]  # between them, the command; it is long
    return lines[-_LAST_LINES:]
