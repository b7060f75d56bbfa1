"""Which runtime a target needs, when it counts as there, and a whole installation with a project of four small files in
place of llama.cpp. The real one, where it was built, is in test_real_runtime.py."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgedistill import target as targets
from edgedistill.commands import toolchain
from edgedistill.errors import IntegrityError, StageFailed, UsageError
from edgedistill.target import Target
from edgedistill.toolchain import cmake_build, compilers, instructions, llama_cpp, runtime
from edgedistill.toolchain.runtime import Runtime

pytestmark = pytest.mark.timeout(900)  # the first time zig compiles the C library too

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "targets").glob("*.yaml"))
BUILT_FOR = [name for name in SHIPPED if "-linux-" in targets.load(name).triple]
PI5 = Runtime("aarch64-linux-musl", "cortex_a76")
AS_CPUINFO = {"dotprod": "asimddp", "fp16": "asimdhp"}
"""Instructions that targets name otherwise than /proc/cpuinfo."""


def target(triple: str, cpu: str = "cortex_a76") -> Target:
    return Target(name="mine", title="My board", soc="s", triple=triple, cpu=cpu)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgedistill"


@pytest.fixture
def tiny(tiny_project, real_compilers, monkeypatch):
    """Installations take the tiny project for llama.cpp's sources."""
    monkeypatch.setattr(llama_cpp, "compiled_sources", lambda: tiny_project)
    monkeypatch.setattr(compilers, "programs", lambda: real_compilers)
    return tiny_project


def test_there_are_shipped_targets():
    assert len(SHIPPED) >= 16 and len(BUILT_FOR) >= 10


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_target_is_built_for_or_refused_with_what_to_do(name):
    wanted = targets.load(name)
    if "macos" in wanted.triple:
        with pytest.raises(UsageError, match=wanted.triple) as refused:
            runtime.runtime_of(wanted)
        assert "Apple's SDK" in refused.value.hint
    elif wanted.triple == "native":
        assert runtime.runtime_of(wanted).machine == platform.machine()
    else:
        made = runtime.runtime_of(wanted)
        assert (made.triple, made.cpu) == (f"{made.machine}-linux-musl", wanted.cpu)


@pytest.mark.parametrize("system", ["linux-musl", "linux-gnu", "linux-android", "linux"])
def test_a_static_file_brings_its_c_library_so_all_linux_is_one(system):
    assert runtime.runtime_of(target(f"aarch64-{system}")) == PI5


def test_it_is_said_that_no_phone_has_tried_it(tiny, capsys):
    said = "for Android this is a static Linux program, started from `adb shell` in /data/local/tmp. It was not tried"
    runtime.install(target("aarch64-linux-android"), jobs=1)
    assert said in capsys.readouterr().err
    runtime.install(target("aarch64-linux-musl"), jobs=1)
    assert "Android" not in capsys.readouterr().err


@pytest.mark.parametrize("triple", ["aarch64-linux-musl", "x86_64-linux-gnu"])
def test_native_is_this_machine_and_no_other(triple):
    with pytest.raises(UsageError, match=f"`cpu: native` is the machine that builds, and {triple} may be") as refused:
        runtime.runtime_of(target(triple, "native"))
    assert "cortex_a76" in refused.value.hint and "`triple: native`" in refused.value.hint


def test_an_unknown_triple_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"riscv64-linux-musl.*aarch64-linux and x86_64-linux"):
        runtime.runtime_of(target("riscv64-linux-musl"))


@pytest.mark.parametrize("cpu", ["cortex-a76", "../../elsewhere", ""])
def test_what_cannot_be_a_cpus_name_is_refused(cpu):
    with pytest.raises(UsageError, match="is no CPU's name") as refused:
        runtime.runtime_of(target("aarch64-linux-musl", cpu))
    assert "cortex_a76" in refused.value.hint


def test_each_ingredient_is_part_of_the_key(monkeypatch):
    keys = {PI5.key, replace(PI5, triple="x86_64-linux-musl").key, replace(PI5, cpu="cortex_a72").key}
    keys.add(replace(PI5, processor="another machine").key)
    for module, name, value in (
        (llama_cpp, "SHA256", "0" * 64),
        (compilers, "PINS", ("ziglang==0.18.0", *compilers.PINS[1:])),
        (runtime, "OPTIONS", (*runtime.OPTIONS, "GGML_LTO=ON")),
        (runtime, "VERSION", runtime.VERSION + 1),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(module, name, value)
            keys.add(PI5.key)
    assert len(keys) == 8 and PI5.key in keys


def test_no_option_asks_for_the_processor_of_the_machine_that_builds():
    assert "GGML_NATIVE=OFF" in runtime.OPTIONS
    assert not [option for option in runtime.OPTIONS if "ARCH" in option or option.endswith("=ON")]


@pytest.mark.parametrize("name", BUILT_FOR)
def test_a_binary_for_a_target_uses_only_what_the_device_has(name, real_compilers):
    """Of the instructions that targets state. Encryption and the like are left out on both sides."""
    wanted = targets.load(name)
    made = runtime.runtime_of(wanted)
    needs = instructions.needed(cmake_build.macros(made.triple, made.cpu, real_compilers))
    assert wanted.isa and needs
    stated = {AS_CPUINFO.get(feature, feature) for feature in wanted.isa.features}
    kernels = {"asimddp", "i8mm", "asimdhp", "sve2", "bf16", "avx2", "avx_vnni", "avx512_vnni"}
    assert set(needs) & kernels == stated & kernels


def test_a_cpu_that_the_compiler_does_not_know_is_refused_with_near_ones(tiny):
    with pytest.raises(UsageError, match="no CPU `cortex_a67` for aarch64") as refused:
        runtime.install(target("aarch64-linux-musl", "cortex_a67"))
    assert "cortex_a76" in refused.value.hint


def test_an_installation_leaves_programs_licences_and_a_manifest_and_is_done_once(tiny, cache, monkeypatch):
    wanted = target("aarch64-linux-musl")
    assert runtime.installed(wanted) is None
    folder = runtime.install(wanted, jobs=1)
    assert folder == runtime.installed(wanted) == cache / f"runtime-aarch64-linux-musl-cortex_a76-{PI5.key}"
    content = runtime.manifest(folder)
    assert set(content["files"]) == {
        *runtime.PROGRAMS,
        *(f"LICENSES/{name}" for name in os.listdir(folder / "LICENSES")),
    }
    assert {"llama.cpp", "musl", "libcxx"} <= set(os.listdir(folder / "LICENSES"))
    assert all(os.access(folder / name, os.X_OK) for name in runtime.PROGRAMS)
    assert content["llama.cpp"]["sha256"] == llama_cpp.SHA256 and "asimddp" in content["needs"]
    assert not [path for path in cache.iterdir() if path.name.endswith(".building")]
    monkeypatch.setattr(cmake_build, "build", None)  # would fail
    assert runtime.install(wanted) == folder


def test_a_runtime_for_this_machine_starts_before_it_counts(tiny, monkeypatch):
    host = targets.load("host")
    (tiny / "llama-server.c").write_text("#include <stdlib.h>\nint main(void) { abort(); }\n")
    with pytest.raises(StageFailed, match="llama-server ends with code -6 here"):
        runtime.install(host, jobs=1)
    assert runtime.installed(host) is None
    (tiny / "llama-server.c").write_text("int main(void) { return 0; }\n")
    folder = runtime.install(host, jobs=1)
    assert subprocess.run([folder / "llama-bench"], capture_output=True, text=True).stdout == "shared.c\n"


def test_a_failed_build_leaves_its_log_and_nothing_final(tiny, cache, capsys):
    (tiny / "llama-cli.c").write_text("#error not today\n")
    with pytest.raises(StageFailed, match="not today") as failed:
        runtime.install(target("aarch64-linux-musl"), jobs=1)
    assert runtime.installed(target("aarch64-linux-musl")) is None and not PI5.folder.exists()
    assert str(PI5.building / "build.log") in failed.value.hint
    assert [(line["state"], line["cpu"]) for line in runtime.here()] == [("half built", "cortex_a76")]
    assert toolchain.list_all(as_json=False) == 0
    assert "half built" in capsys.readouterr().out


def test_a_lost_or_changed_file_is_seen(tiny):
    wanted = target("aarch64-linux-musl")
    folder = runtime.install(wanted, jobs=1)
    content = (folder / "llama-cli").read_bytes()
    (folder / "llama-cli").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="llama-cli has sha256"):
        runtime.manifest(folder)
    (folder / "llama-cli").unlink()
    assert runtime.installed(wanted) is None
    assert runtime.manifest(runtime.install(wanted, jobs=1))["files"]["llama-cli"]["bytes"] == len(content)


def test_a_runtime_of_other_pins_is_called_outdated(tiny, monkeypatch, capsys):
    runtime.install(target("aarch64-linux-musl"), jobs=1)
    assert [line["state"] for line in runtime.here()] == ["whole"]
    monkeypatch.setattr(runtime, "VERSION", runtime.VERSION + 1)
    toolchain.list_all(as_json=True)
    (line,) = json.loads(capsys.readouterr().out)["runtimes"]
    assert (line["state"], line["triple"], line["cpu"]) == ("outdated", "aarch64-linux-musl", "cortex_a76")
    assert set(line["programs"]) == set(runtime.PROGRAMS)


def test_the_command_refuses_before_it_fetches(monkeypatch):
    monkeypatch.setattr(compilers, "programs", None)
    with pytest.raises(UsageError, match="aarch64-macos"):
        toolchain.install((), ("rpi5", "mac-m1"))


def _install(source: str, programs: compilers.Compilers) -> None:
    """In a process of its own."""
    llama_cpp.compiled_sources = lambda: Path(source)
    compilers.programs = lambda: programs
    runtime.install(target("aarch64-linux-musl"), jobs=1)


def _slowed(tiny: Path, started: Path) -> None:
    """The tiny project, whose llama-cli waits after the shared part: `started` says that, `started.go` lets it pass."""
    waiting = f"touch '{started}'; while [ ! -e '{started}.go' ]; do sleep 0.1; done; touch waited.h"
    (tiny / "wait.sh").write_text(waiting)
    with (tiny / "CMakeLists.txt").open("a") as file:
        file.write(
            "add_custom_command(OUTPUT waited.h COMMAND sh ${CMAKE_SOURCE_DIR}/wait.sh DEPENDS shared_part VERBATIM)\n"
        )
        file.write("target_sources(llama-cli PRIVATE waited.h)\n")


CHILD = """
import signal, sys
from pathlib import Path
from edgedistill.cli import _interrupt
from edgedistill.target import Target
from edgedistill.toolchain import compilers, llama_cpp, runtime
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, _interrupt)
source, *programs = map(Path, sys.argv[1:])
llama_cpp.compiled_sources = lambda: source
compilers.programs = lambda: compilers.Compilers(*programs)
runtime.install(Target(name="t", title="t", soc="s", triple="aarch64-linux-musl", cpu="cortex_a76"), 1)
"""
"""What `toolchain install` does with signals, around the tiny project."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_build_leaves_nothing_final_and_the_next_goes_on(
    number, tiny, real_compilers, tmp_path, monkeypatch
):
    started, wanted = tmp_path / "started", target("aarch64-linux-musl")
    _slowed(tiny, started)
    command = [sys.executable, "-c", CHILD, tiny, *vars(real_compilers).values()]
    package = {**os.environ, "PYTHONPATH": str(Path(runtime.__file__).parents[2])}
    child = subprocess.Popen(command, env=package, stderr=subprocess.DEVNULL)
    try:
        _until(started.exists, 120)
        child.send_signal(number)
        assert child.wait(30) != 0
        if number != signal.SIGKILL:
            assert not _processes_in(PI5.building), "Ninja and its compilers ended too"
    finally:
        child.kill()
        Path(f"{started}.go").touch()
    assert runtime.installed(wanted) is None and not PI5.folder.exists()
    _until(lambda: not _processes_in(PI5.building), 30)
    logs: list[str] = []
    monkeypatch.setattr(cmake_build, "build", _and_its_log(cmake_build.build, logs))
    assert runtime.install(wanted, jobs=1) == runtime.installed(wanted)
    assert "Linking C executable bin/llama-cli" in logs[0]
    assert "CMakeFiles/shared_part.dir" not in logs[0], "it had been compiled before"


def _and_its_log(build, logs):
    """`build`, with a look at the log before it goes with the work."""

    def run(project, folder, programs, jobs):
        made = build(project, folder, programs, jobs)
        logs.append((folder / "build.log").read_text())
        return made

    return run


def _until(condition, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def _processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_two_processes_at_once_build_once(tiny, real_compilers, cache, tmp_path):
    """The second finds the lock taken, waits, and finds it done."""
    counter = tmp_path / "configured"
    with (tiny / "CMakeLists.txt").open("a") as file:
        file.write(f'file(APPEND "{counter}" "configured\\n")\n')
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_install, args=(str(tiny), real_compilers)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert counter.read_text() == "configured\n"
    assert runtime.installed(target("aarch64-linux-musl"))
