"""With the real compilers and a project of four small files. The first time zig compiles the C library too, a minute's
work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgedistill.errors import StageFailed
from edgedistill.toolchain import cmake_build, elf, runtime
from edgedistill.toolchain.cmake_build import Project
from edgedistill.toolchain.compilers import Compilers

pytestmark = pytest.mark.timeout(900)
PROGRAMS = ("llama-server", "llama-bench")


@pytest.fixture
def pi5(tiny_project):
    return Project(tiny_project, PROGRAMS, "aarch64-linux-musl", "cortex_a76")


SETTINGS = {
    "BUILD_SHARED_LIBS=OFF", "CMAKE_AR=F/ar", "CMAKE_ASM_COMPILER=F/cc", "CMAKE_BUILD_TYPE=Release",
    "CMAKE_CXX_COMPILER=F/c++", "CMAKE_C_COMPILER=F/cc", "CMAKE_EXE_LINKER_FLAGS=-static -s -Wl,-z,stack-size=8388608",
    "CMAKE_MAKE_PROGRAM=ninja", "CMAKE_RANLIB=F/ranlib", "CMAKE_RUNTIME_OUTPUT_DIRECTORY=F/cmake/bin",
    "CMAKE_SYSTEM_NAME=Linux", "CMAKE_SYSTEM_PROCESSOR=aarch64",
}  # fmt: skip
ZIG = "-target aarch64-linux-musl -mcpu=cortex_a76 -ffile-prefix-map=S=. -ffile-prefix-map=F=build"


def test_version_1_is_built_with_these_settings(tmp_path, monkeypatch):
    """They are not in the key. Who changes them raises VERSION, and then this test."""
    monkeypatch.chdir(tmp_path)
    tools = Compilers(Path("zig"), Path("cmake"), Path("ninja"), Path("cache"))
    project = Project(Path("S"), (), "aarch64-linux-musl", "cortex_a76")
    words = cmake_build._configuration(project, Path("F"), tools)
    assert {word[2:] for word in words if word.startswith("-D")} == SETTINGS
    cmake_build._write_compilers(project, Path("F"), tools)
    assert Path("F/cc").read_text() == f'#!/bin/sh\nexec zig cc {ZIG} "$@"\n'
    assert runtime.VERSION == 1


def test_programs_for_another_processor_are_static_and_know_no_path_of_this_machine(
    pi5, real_compilers, tmp_path, monkeypatch
):
    monkeypatch.setenv("CFLAGS", "-DOF_THE_USER -nonsense")  # must not get in
    built = cmake_build.build(pi5, tmp_path / "first", real_compilers, 1)
    again = cmake_build.build(pi5, tmp_path / "another place", real_compilers, 1)
    assert set(built) == set(PROGRAMS)
    for name, path in built.items():
        assert elf.read(path) == elf.Elf("aarch64", is_static=True, is_stripped=True)
        assert str(tmp_path).encode() not in path.read_bytes()
        assert path.read_bytes() == again[name].read_bytes()
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator:
        said = subprocess.run([emulator, "-cpu", "cortex-a76", built["llama-bench"]], capture_output=True, text=True)
        assert (said.returncode, said.stdout) == (0, "shared.c\n")


def test_a_compiler_error_names_step_file_and_log(pi5, real_compilers, tmp_path):
    (pi5.source / "shared.c").write_text("int shared(void) { return missing_name; }\n")
    with pytest.raises(StageFailed) as failed:
        cmake_build.build(pi5, tmp_path / "build", real_compilers, 1)
    assert (
        "failed in step `compile`" in failed.value.problem and "aarch64-linux-musl cortex_a76" in failed.value.problem
    )
    assert "shared.c" in failed.value.problem and "missing_name" in failed.value.problem
    log = tmp_path / "build" / "build.log"
    assert str(log) in failed.value.hint and "missing_name" in log.read_text()
    assert len(failed.value.problem.splitlines()) < 20


def test_an_error_of_cmake_names_its_step(pi5, real_compilers, tmp_path):
    with (pi5.source / "CMakeLists.txt").open("a") as file:
        file.write('message(FATAL_ERROR "this project wants a moon")\n')
    with pytest.raises(StageFailed, match="step `configure`") as failed:
        cmake_build.build(pi5, tmp_path / "build", real_compilers, 1)
    assert "this project wants a moon" in failed.value.problem


def test_a_rerun_compiles_only_what_is_missing(pi5, real_compilers, tmp_path):
    (pi5.source / "llama-server.c").write_text("int main(void) { return wrong; }\n")
    with pytest.raises(StageFailed):
        cmake_build.build(pi5, tmp_path / "build", real_compilers, 1)
    (pi5.source / "llama-server.c").write_text("int shared(void);\nint main(void) { return shared(); }\n")
    cmake_build.build(pi5, tmp_path / "build", real_compilers, 1)
    log = (tmp_path / "build" / "build.log").read_text()
    assert "Building C object CMakeFiles/llama-server.dir" in log
    assert log.count("Building C object") < 3 + 1, "the first run made at least one of the three"


def test_progress_counts_to_the_end(pi5, real_compilers, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(cmake_build, "progress", _recorder(counted))
    cmake_build.build(pi5, tmp_path / "build", real_compilers, 1)
    label, total, *steps = counted
    assert label == "aarch64-linux-musl cortex_a76"
    assert sum(steps) == total >= 6  # three objects, a library, two programs


def _recorder(into: list):
    from contextlib import contextmanager

    @contextmanager
    def progress(label, total):
        into.extend([label, total])
        yield into.append

    return progress
