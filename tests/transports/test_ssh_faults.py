"""A real ssh connection that cannot be made, and one that breaks at each step: what is told, kept and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgedistill import transport
from edgedistill.devices import faults, keeper, shell

MIB = 1024 * 1024


# Not reached


def test_nobody_listens(own_server):
    server = own_server
    server.stop()
    server.way.close()
    with pytest.raises(faults.HostDown, match=r"does not answer: .*refused") as raised, server.connect():
        pass
    assert raised.value.exit_code == 3 and "switched on" in raised.value.hint


def test_a_name_that_nobody_knows(server):
    with pytest.raises(faults.NameNotResolved, match=r"nobody knows a host called `no-such-board\.invalid`"):
        transport.open_device("ssh://no-such-board.invalid").open()


def test_a_wrong_key(own_server):
    server = own_server

    server.new_key(server.home / "id")
    with (
        pytest.raises(faults.LoginRefused, match=r"does not let you in: .*Permission denied") as raised,
        server.connect(),
    ):
        pass
    assert "ssh-copy-id" in raised.value.hint


def test_an_unknown_host_key_is_refused_and_stays_unknown(own_server):
    server = own_server
    server.known.write_text("")
    with pytest.raises(faults.HostKeyUnknown, match="not among your known hosts; nothing was sent") as raised:
        server.connect().open()
    assert f"`ssh -p {server.port} 127.0.0.1`" in raised.value.hint
    assert server.known.read_text() == "" and not Path(server.base).exists()


def test_a_changed_host_key_is_refused(own_server):
    server = own_server
    server.stop()

    server.new_key(server.device / "host")
    server.start()
    with pytest.raises(faults.HostKeyChanged, match="another host key than the one you accepted") as raised:
        server.connect().open()
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in raised.value.hint
    assert not Path(server.base).exists()


def test_another_run_holds_the_device(server, monkeypatch):
    monkeypatch.setattr(shell, "BUSY_S", 0.5)
    with (
        server.connect(),
        pytest.raises(faults.InUse, match=rf"in use by another edgedistill, process {os.getpid()} of"),
    ):
        server.connect().open()


# Cut


def test_cut_in_the_middle_of_a_push_the_next_run_sends_the_rest(server, big):
    server.way.later = [(5 * MIB, server.way.cut)]
    with (
        pytest.raises(
            faults.ConnectionCut, match=r"cut while pushing model\.gguf; the device is up; what has"
        ) as raised,
        server.connect() as there,
    ):
        there.push(big, "model.gguf")
    assert raised.value.exit_code == 3 and "run the same command again" in raised.value.hint
    server.wait_until_left()
    partial = next(Path(server.base).rglob(".partial")).stat().st_size
    assert 2 * MIB < partial < 6 * MIB
    assert not list(Path(server.base).rglob("model.gguf"))
    before = server.way.sent
    had = []
    with server.connect() as there:
        path = Path(there.push(big, "model.gguf", progress=had.append))
        assert path.read_bytes() == big.read_bytes()
    assert server.way.sent - before < big.stat().st_size - partial + 0.5 * MIB
    assert had[0] == partial and sum(had) == big.stat().st_size
    assert not Path(server.base).exists()


def test_what_was_pushed_stays_after_a_fault_and_the_fault_says_where(server, big):
    """A server that was killed there: the model need not be sent again."""
    with pytest.raises(faults.Killed) as raised, server.connect() as there:
        there.push(big, "model.gguf")
        killed = there.start(["sh", "-c", "kill -KILL $$"], log="p.log")
        while killed.poll() is None:
            time.sleep(0.05)
        raise killed.fault()
    assert raised.value.hint.endswith(
        f"\n      what was pushed stays in {server.base}/files of {server.address}, for the next run"
    )
    before = server.way.sent
    with server.connect() as there:
        there.push(big, "model.gguf")
    assert server.way.sent - before < MIB and not Path(server.base).exists()


@pytest.mark.parametrize("error", [faults.WrongArchitecture("another CPU"), faults.DiskFull("no room")])
def test_nothing_stays_where_it_is_of_no_use(server, big, error):
    with pytest.raises(type(error)), server.connect() as there:
        there.push(big, "model.gguf")
        raise error
    assert error.hint == "" and not Path(server.base).exists()


def test_a_partial_file_of_other_content_is_not_built_upon(server, big):
    with server.connect(keep=True) as there:
        path = Path(there.push(big, "model.gguf"))
    path.unlink()
    path.with_name(".partial").write_bytes(bytes(2 * MIB))
    with server.connect() as there:
        assert Path(there.push(big, "model.gguf")).read_bytes() == big.read_bytes()


def test_cut_in_the_middle_of_a_run(server):
    cut = pytest.raises(faults.ConnectionCut, match="cut while running sleep; the device is up")
    with cut, server.connect() as there:
        threading.Timer(1.0, server.cut).start()
        there.run(["sleep", "100"], timeout=60)
    server.wait_until_left()
    assert not Path(server.base).exists()


def test_cut_while_a_server_runs(server):
    with pytest.raises(faults.ConnectionCut, match="cut while sleep ran"), server.connect() as there:
        process = there.start(["sleep", "100"], log="p.log")
        time.sleep(0.5)
        server.cut()
        while process.poll() is None:
            time.sleep(0.05)
    server.wait_until_left()


def test_cut_in_the_middle_of_a_pull(server, big, tmp_path):
    """A part had been written as it came; nothing of it lies here then."""
    out, had = tmp_path / "out", []

    def cut() -> None:
        had.append(sum(file.stat().st_size for file in out.iterdir()))
        server.way.cut()

    with (
        pytest.raises(faults.ConnectionCut, match=r"cut while pulling .*; the device is up; nothing of it") as raised,
        server.connect() as there,
    ):
        server.way.later_received = [(server.way.received + 5 * MIB, cut)]
        there.pull(str(big), out / "back")
    assert raised.value.exit_code == 3
    assert MIB < had[0] < 6 * MIB and list(out.iterdir()) == []
    server.wait_until_left()
    with server.connect() as there:
        assert there.pull(str(big), tmp_path / "out" / "back").read_bytes() == big.read_bytes()


def test_the_device_is_gone_after_the_cut(own_server):
    server = own_server
    gone = pytest.raises(faults.ConnectionCut, match=r"cut while running sleep, and now: .* does not answer")
    with gone, server.connect() as there:
        threading.Timer(0.5, lambda: (server.way.close(), server.stop())).start()
        there.run(["sleep", "100"], timeout=60)
    server.wait_until_left()


KILLED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from edgedistill import transport
with transport.open_device(sys.argv[1], folder=sys.argv[2]) as there:
    there.push(Path(sys.argv[3]), "model.gguf")
    there.start(["sleep", "100"], log="p.log")
    print("begun", flush=True)
    time.sleep(100)
"""


def begun(server, big) -> subprocess.Popen[bytes]:
    """Another edgedistill that has pushed a file and started a process."""
    arguments = [server.address, server.base, str(big)]
    environment = {**os.environ, "PYTHONPATH": str(Path(transport.__file__).parent.parent)}
    ours = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, env=environment)
    assert ours.stdout is not None and ours.stdout.readline() == b"begun\n"
    return ours


def test_nothing_of_ours_stays_when_we_are_killed_and_the_next_run_goes_on(server, big):
    ours = begun(server, big)
    assert [line for line in server.processes() if "sleep" in line]
    ours.kill()
    ours.communicate()
    server.wait_until_left()
    before = server.way.sent
    with server.connect() as there:
        there.push(big, "model.gguf")
    assert server.way.sent - before < MIB
    assert not Path(server.base).exists()


def test_ctrl_c_ends_in_order_and_keeps_what_was_pushed(server, big):
    ours = begun(server, big)
    ours.send_signal(signal.SIGINT)
    assert ours.wait(30) != 0
    assert server.processes() == [] and not Path(server.base, "work").exists()
    before = server.way.sent
    with server.connect() as there:
        there.push(big, "model.gguf")
    assert server.way.sent - before < MIB


def test_a_keeper_that_was_killed_is_noticed_by_the_next_run(server):
    """The lock is left, and so is a process: the next run ends it."""
    left = subprocess.Popen(["sleep", "77"], start_new_session=True)
    with pytest.raises(faults.ConnectionCut, match="cut while running true"), server.connect() as there:
        Path(there.folder, "groups", f"9.{left.pid}").touch()
        os.killpg(int(Path(server.base, "lock").read_text().split()[0]), signal.SIGKILL)
        time.sleep(0.5)
        there.run(["true"], timeout=20)
    assert Path(server.base, "lock").exists() and left.poll() is None
    with server.connect():
        assert left.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("folder, boot", [("work", "00000000-0000\n"), ("work.ended", None)])
def test_a_process_from_after_a_restart_is_left_alone(server, folder, boot):
    """It has the number of one of ours from before: the power went off while that ran."""
    other = subprocess.Popen(["sleep", "77"], start_new_session=True)
    groups = Path(server.base, folder, "groups")
    groups.mkdir(parents=True)
    (groups / f"9.{other.pid}").touch()
    if boot:
        (groups.parent / "boot").write_text(boot)
    try:
        with server.connect() as there:
            assert there.run(["true"], timeout=20).code == 0
        assert other.poll() is None and not Path(server.base).exists()
    finally:
        other.kill()
        other.wait()


def test_a_run_of_another_machine_of_the_same_name_is_not_ended(server, monkeypatch):
    """Its process cannot be found here: that does not say that it is dead."""
    monkeypatch.setattr(shell, "BUSY_S", 1.0)
    ended = subprocess.Popen(["true"])
    ended.wait()
    host, _, namespace, _ = keeper.owner().split(":")
    monkeypatch.setattr(keeper, "owner", lambda: f"{host}:another-boot:{namespace}:{ended.pid}")
    with server.connect() as there:
        running = there.start(["sleep", "100"], log="p.log")
        monkeypatch.undo()
        monkeypatch.setattr(shell, "BUSY_S", 1.0)
        with pytest.raises(faults.InUse, match=f"process {ended.pid} of {host}"):
            server.connect().open()
        assert running.poll() is None and there.run(["true"], timeout=20).code == 0


def test_silence_ends_what_runs_there(server, monkeypatch):
    """The way is held up without a sign that it is broken: neither side is told."""
    monkeypatch.setattr(keeper, "BEAT_S", 0.1)
    with pytest.raises(faults.ConnectionCut), server.connect() as there:
        there.start(["sleep", "100"], log="p.log")
        time.sleep(3)
        assert [line for line in server.processes() if "sleep 100" in line]  # signs of life are heard
        server.way.held.set()
        server.wait_until_left()
        server.way.held.clear()
        there.run(["true"], timeout=20)


def test_a_run_of_ours_that_was_killed_and_not_noticed_is_taken_over(server, big):
    """The way of the killed run stays open, so its keeper there lives on."""
    ours = begun(server, big)
    server.way.held.set()
    server.way.new()
    ours.kill()
    ours.communicate()
    with server.connect() as there:
        assert there.run(["true"], timeout=20).code == 0
