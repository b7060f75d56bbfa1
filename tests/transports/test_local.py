"""This machine as a device; and that the scripts run in every small shell that devices have."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from edgedistill import transport
from edgedistill.devices import exits, faults, keeper
from edgedistill.devices import shell as shell_device
from edgedistill.devices.shell import ShellDevice
from edgedistill.errors import DeviceError
from edgedistill.transport import Address
from edgedistill.transports.local import Local

REPO = Path(transport.__file__).resolve().parent.parent


@pytest.fixture
def local():
    with transport.open_device("local") as device:
        yield device
    assert not Path(device.folder).parent.exists()


def test_nothing_is_copied(local, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    had = []
    assert local.push(file, "other-name", progress=had.append) == str(file)
    assert had == [7]
    assert local.pull(str(file), tmp_path / "deep" / "copy").read_bytes() == b"weights"
    with pytest.raises(faults.CommandFailed, match=r"cat ended with code \d on local\n.*no-such"):
        local.pull("no-such", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["copy", "deep", "model.gguf"]


def test_a_pull_that_cannot_be_written_to_its_end_leaves_nothing(local, tmp_path):
    """A disk that is full, as a limit for the size of files."""
    big, limit = tmp_path / "big", resource.getrlimit(resource.RLIMIT_FSIZE)
    big.write_bytes(bytes(4 << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            local.pull(str(big), tmp_path / "out" / "back")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_pull_does_not_hold_the_file_in_memory(local, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(16 << 20))
    tracemalloc.start()
    try:
        assert local.pull(str(big), tmp_path / "back").stat().st_size == 16 << 20
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert big.read_bytes() == (tmp_path / "back").read_bytes()


def test_a_log_that_cannot_be_made_is_the_last_word(local):
    """It is empty, but the shell said why."""
    running = local.start(["true"], log="no-such-folder/p.log")
    while running.poll() is None:
        time.sleep(0.05)
    assert "no-such-folder/p.log" in running.fault().problem


def test_nothing_stays_when_it_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Local, "needs", ("no-such-program",))
    with pytest.raises(faults.ProgramMissing, match="local has no `no-such-program`"):
        transport.open_device("local").open()
    assert list(tmp_path.iterdir()) == []


def test_commands_run_in_the_work_folder_with_the_environment(local, monkeypatch):
    monkeypatch.setenv("LIGHT", "on")
    assert local.run(["sh", "-c", 'echo "$LIGHT" >here; cat here'], timeout=20).text == "on\n"
    assert Path(local.folder, "here").exists()


def test_cores_are_those_that_this_process_may_use(local):
    """Whatever OMP_NUM_THREADS says, which nproc would believe."""
    assert local.facts().cores == len(os.sched_getaffinity(0))
    assert local.facts().conditions("local")["where"] == "local"


def test_a_port_is_its_own(local):
    with local.forward(8080) as port:
        assert port == 8080


def test_a_program_for_another_cpu_is_refused(local, tmp_path):
    """The head of a real ELF file, its machine changed to RISC-V (243)."""
    program = tmp_path / "llama-server"
    head = bytearray(Path("/bin/sh").resolve().read_bytes()[:64])
    head[18:20] = (243).to_bytes(2, "little")
    program.write_bytes(head)
    with pytest.raises(faults.WrongArchitecture, match=rf"is built for riscv64, and local is {os.uname().machine}"):
        local.push(program, "llama-server")


ABANDONED = """
import sys, time
from edgedistill import transport
device = transport.open_device("local")
device.open()
device.start(["sleep", "100"], log="p.log")
print(device.folder, flush=True)
time.sleep(100)
"""


def test_processes_end_with_the_one_that_started_them():
    ours = subprocess.Popen(
        [sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    assert ours.stdout is not None
    folder = Path(ours.stdout.readline().decode().strip())
    while not list((folder / "groups").glob("*.*")):
        time.sleep(0.05)
    group = next((folder / "groups").glob("*.*")).name.partition(".")[2]
    ours.kill()
    ours.communicate()
    for _ in range(100):
        if not folder.parent.exists() and not psutil.pid_exists(int(group)):
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {folder.parent}, or process {group}")


# What exit codes mean, by real signals


def fault_of(device, script: str) -> DeviceError:
    done = device.run(["sh", "-c", script], timeout=20)
    assert done.code
    return exits.fault(device, ["/opt/llama-server", "-m", "x"], done.code, done.err.decode())


def test_an_illegal_instruction_means_a_cpu_feature(local):
    found = fault_of(local, "kill -ILL $$")
    assert isinstance(found, faults.CpuLacksFeature) and found.exit_code == 3
    assert "llama-server used an instruction that the CPU of local does not have" in found.problem


def test_a_kill_without_a_word_of_the_kernel_is_only_likely_a_lack_of_memory(local):
    """Whatever its log says of other programs."""
    found = fault_of(local, "kill -KILL $$")
    assert isinstance(found, faults.Killed)
    assert "llama-server was killed on local: most likely" in found.problem
    assert "MiB are free now" in found.problem


def test_a_program_that_cannot_start_is_told_from_one_that_fails(local, tmp_path):
    head = bytearray(Path("/bin/sh").resolve().read_bytes()[:64])
    head[18:20] = (8).to_bytes(2, "little")  # MIPS
    (tmp_path / "data").write_bytes(head)
    (tmp_path / "data").chmod(0o755)
    assert isinstance(fault_of(local, f"{tmp_path}/data"), faults.WrongArchitecture)
    assert "could not be run on local" in fault_of(local, "/no/such/program").problem
    assert (
        "llama-server ended with code 5 on local\nbad weights"
        in fault_of(local, "echo bad weights >&2; exit 5").problem
    )


MEMORY = Path("/sys/fs/cgroup/memory" if Path("/sys/fs/cgroup/memory").is_dir() else "/sys/fs/cgroup")


def test_a_command_that_takes_all_memory_is_named_with_the_kernels_words(local):
    """A real kill, in a group of processes that may have 24 MiB."""
    group = MEMORY / f"edgedistill-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = next(path for name in ("memory.max", "memory.limit_in_bytes") if (path := group / name).exists())
        limit.write_text(str(24 << 20))
    except (OSError, StopIteration):
        with suppress(OSError):
            group.rmdir()
        pytest.skip("needs a memory control group of its own, not allowed here")
    try:
        hungry = f"echo $$ >{group}/cgroup.procs; exec {sys.executable} -c 'bytearray(200 << 20)'"
        done = local.run(["sh", "-c", hungry], timeout=60)
        assert done.code == 137
        found = exits.fault(local, [sys.executable], done.code, "")
    finally:
        time.sleep(0.2)
        group.rmdir()
    assert isinstance(found, faults.Killed)
    assert "no memory left: " in found.problem and "out of memory" in found.problem.lower()


# Shells


class Elsewhere(Local):
    """This machine, with another shell and other small programs, and files that are really pushed."""

    words: tuple[str, ...] = ()

    def command(self, script: str) -> list[str]:
        return [*self.words, "-c", script]

    keeper_command = command

    def push(self, local, name, *, progress=None):
        return super(Local, self).push(local, name, progress=progress)


def again(device: Elsewhere) -> Elsewhere:
    """A second one at the same place."""
    other = Elsewhere(device.address, device.base, False)
    other.words = device.words
    return other


def shell_of(kind: str, programs: Path) -> list[str]:
    """The shell's command; `busybox` and `toybox` have only their own programs, put into a folder, on the path."""
    box, _, shell = kind.rpartition(" ")
    if not all(map(shutil.which, kind.replace("busybox ash", "busybox").split())):
        pytest.skip(f"needs {kind}")
    if box == "":
        return [str(shutil.which(shell))]
    programs.mkdir()
    listed = subprocess.run([box, *(["--list"] if box == "busybox" else [])], capture_output=True, text=True).stdout
    for name in listed.split():
        (programs / name).symlink_to(str(shutil.which(box)))
    for name in ("grep", "mksh", "tr", "sha256sum"):  # Debian's toybox lacks some that Android's has
        if box == "toybox" and not (programs / name).exists():
            (programs / name).symlink_to(str(shutil.which(name)))
    return [str(programs / shell)]


@pytest.mark.parametrize("kind", ["dash", "bash", "busybox ash", "toybox mksh"])
def test_the_scripts_run_in_every_shell(kind, tmp_path, monkeypatch):
    """Debian's, busybox's with its own programs, and Android's."""
    words = shell_of(kind, tmp_path / "bin")
    if " " in kind:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    everything(words, tmp_path, monkeypatch)


def test_the_scripts_need_nothing_but_what_they_ask_for(tmp_path, monkeypatch):
    """A device that has these programs and no others, but for the test's own `dash` and `sh`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in (*ShellDevice.needs, "dash", "sh"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    everything([str(programs / "dash")], tmp_path, monkeypatch)


def everything(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push, go on with a part, pull, sample, start, stop, hold, leave; then once more with a connection that is cut."""
    device = Elsewhere(Address("local"), str(tmp_path / "a b" / "device"), False)
    device.words = tuple(words)
    file = tmp_path / "file"
    file.write_bytes(os.urandom(300_000))
    with device:
        assert device.facts().machine == os.uname().machine and device.facts().disk_free_bytes
        assert device.run(["cat"], timeout=20, input=b"\x00\xff").out == b"\x00\xff"
        pushed = Path(device.push(file, "file"))
        assert pushed.read_bytes() == file.read_bytes()
        pushed.rename(pushed.with_name(".partial"))
        with pushed.with_name(".partial").open("r+b") as part:
            part.truncate(100_000)
        had = []
        assert Path(device.push(file, "file", progress=had.append)).read_bytes() == file.read_bytes()
        assert had[0] == 100_000
        assert device.pull(str(pushed), tmp_path / "back").read_bytes() == file.read_bytes()
        assert device.sample(["/proc/sys/kernel/ostype", "/no"]) == {"/proc/sys/kernel/ostype": "Linux", "/no": None}
        running = device.start(["sleep", "100"], log="p.log")
        left = device.start(["sleep", "100"], log="q.log")
        running.stop()
        assert running.poll() == 143 and left.poll() is None
        monkeypatch.setattr(shell_device, "BUSY_S", 0.0)
        with pytest.raises(faults.InUse):
            again(device).open()
    assert left.poll() == 143
    assert not (tmp_path / "a b").exists()
    with device:
        device.push(file, "file")
        left = device.start(["sleep", "100"], log="p.log")
        time.sleep(0.3)
        cut(device)
        while left.poll() is None:
            time.sleep(0.05)
        assert left.poll() == 143 and pushed.read_bytes() == file.read_bytes()
    with again(device):
        pass
    assert not (tmp_path / "a b").exists()


def cut(device: Elsewhere) -> None:
    """The keeper's side of it: its stdin ends."""
    process = device._keeper._process
    process.stdin.close()
    process.wait(10)


def test_a_device_that_tells_no_boot_id_is_held_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "SCRIPT", keeper.SCRIPT.replace("/proc/sys/kernel/random/boot_id", "/no"))
    monkeypatch.setattr(shell_device, "BUSY_S", 0.0)
    with transport.open_device("local", folder=str(tmp_path / "device")) as device:
        left = device.start(["sleep", "100"], log="p.log")
        with pytest.raises(faults.InUse, match=f"process {os.getpid()} of"):
            transport.open_device("local", folder=str(tmp_path / "device")).open()
        assert left.poll() is None
    assert not (tmp_path / "device").exists()
