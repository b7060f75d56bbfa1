from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.errors import EdgeDistillError
from edgedistill.toolchain import compilers
from edgedistill.toolchain.compilers import Compilers

PROGRAMS = ("llama-server", "llama-bench", "llama-cli")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_itemcollected(item: pytest.Item) -> None:
    """130 MB to fetch the first time, and a minute for each C library that zig compiles."""
    if "real_compilers" in getattr(item, "fixturenames", ()):
        item.add_marker("slow")


@pytest.fixture(scope="session")
def real_compilers() -> Compilers:
    """zig, CMake and Ninja in the user's cache folder; fetched once, 130 MB."""
    try:
        return compilers.programs()
    except EdgeDistillError as error:
        pytest.skip(f"the compilers are not here and cannot be fetched: {error.problem}")


@pytest.fixture
def tiny_project(tmp_path: Path) -> Path:
    """A CMake project with programs of llama.cpp's names: each prints where its source was and what was asked of it."""
    source = tmp_path / "source of llama.cpp"  # a folder's name may have spaces
    (source / "licenses").mkdir(parents=True)
    (source / "LICENSE").write_text("MIT\n")
    (source / "licenses" / "LICENSE-other").write_text("MIT\n")
    lines = ["cmake_minimum_required(VERSION 3.20)", "project(tiny C)", "add_library(shared_part shared.c)"]
    for name in PROGRAMS:
        lines += [f"add_executable({name} {name}.c)", f"target_link_libraries({name} shared_part)"]
        (source / f"{name}.c").write_text("int shared(void);\nint main(void) { return shared(); }\n")
    (source / "shared.c").write_text("#include <stdio.h>\nint shared(void) { return puts(__FILE__) < 0; }\n")
    lines += ["add_executable(not-needed no_such_function.c)"]
    (source / "no_such_function.c").write_text(
        "int no_such_function(void);\nint main(void) { return no_such_function(); }\n"
    )
    (source / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
    return source
