"""Over a real sshd on a loopback port. What happens when the way breaks is in test_ssh_faults.py."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edgedistill.devices import faults, process
from edgedistill.errors import DeviceError
from edgedistill.transports import ssh

MIB = 1024 * 1024


def test_a_command_runs_there_with_its_bytes_and_its_code(server):
    with server.connect() as there:
        done = there.run(["sh", "-c", "cat; echo bad >&2; exit 255"], timeout=20, input=b"\x00\xff'\n")
        assert (done.code, done.out, done.err) == (255, b"\x00\xff'\n", b"bad\n")
        odd = ["printf", "%s|", "a b", "it's", '"$HOME"', "*", "new\nline", "!x", "ä"]
        assert there.run(odd, timeout=20).text == 'a b|it\'s|"$HOME"|*|new\nline|!x|ä|'
        assert there.run(["pwd"], timeout=20).text.strip() == there.folder == f"{server.base}/work"


def test_facts_are_those_of_the_machine(server):
    with server.connect() as there:
        facts = there.facts()
    total = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    assert (facts.machine, facts.ram_bytes) == (os.uname().machine, total)
    assert facts.kernel == f"{os.uname().sysname} {os.uname().release}"
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.cores == len(os.sched_getaffinity(server.process.pid))
    assert abs(facts.disk_free_bytes - shutil.disk_usage(server.device).free) < 200 * MIB
    assert 0 < facts.available_bytes < total


def test_several_files_are_read_in_one_round_trip(server, tmp_path):
    (tmp_path / "two lines").write_text("41\n42\n\n")
    with server.connect() as there:
        paths = [str(tmp_path / "two lines"), "/proc/no/such", "/proc/sys/kernel/ostype"]
        assert there.sample(paths) == {paths[0]: "41\n42", paths[1]: None, paths[2]: "Linux"}
        assert there.read(paths[2]) == "Linux"


def test_one_connection_serves_everything_and_leaves_no_trace(server, big, tmp_path):
    logins = server.logins()
    with server.connect() as there:
        path = there.push(big, "model.gguf")
        assert Path(path).read_bytes() == big.read_bytes()
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert there.pull(path, tmp_path / "back").read_bytes() == big.read_bytes()
        assert server.logins() == logins + 1
    assert server.processes() == [] and not Path(server.base).parent.exists()


def test_what_is_there_is_not_sent_again_with_keep(server, big):
    with server.connect(keep=True) as there:
        first = there.push(big, "model.gguf")
    sent = server.way.sent
    assert sent > big.stat().st_size
    with server.connect() as there:
        assert there.push(big, "another-name.gguf") == first
    assert server.way.sent - sent < MIB


def test_a_file_that_was_damaged_there_is_sent_again(server, big):
    with server.connect(keep=True) as there:
        path = Path(there.push(big, "model.gguf"))
    with path.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(b"flip")
    with server.connect() as there:
        assert Path(there.push(big, "model.gguf")).read_bytes() == big.read_bytes()


def test_a_program_stays_one(server, tmp_path):
    script = tmp_path / "hello"
    script.write_text("#!/bin/sh\necho hello $1\n")
    script.chmod(0o755)
    with server.connect() as there:
        assert there.run([there.push(script, "hello"), "you"], timeout=20).text == "hello you\n"


def test_a_process_in_the_background(server):
    with server.connect() as there:
        started = there.start(["sh", "-c", "echo begun; sleep 100"], log="p.log")
        while "begun" not in started.tail():
            time.sleep(0.05)
        assert started.poll() is None
        started.stop()
        assert started.poll() == 143
        started.stop()
        ended = there.start(["sh", "-c", "echo oh no >&2; exit 7"], log="q.log")
        while (code := ended.poll()) is None:
            time.sleep(0.05)
        assert code == 7
        assert "sh ended with code 7" in str(ended.fault()) and "oh no" in str(ended.fault())


def test_one_that_does_not_listen_is_forced(server, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.6)
    with server.connect() as there:
        started = there.start(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"], log="p.log")
        while "deaf" not in started.tail():
            time.sleep(0.05)
        started.stop()
        assert started.poll() is not None
        assert not [line for line in server.processes() if "deaf" in line]


def test_a_command_that_takes_too_long_is_ended_there(server, tmp_path):
    mark = tmp_path / "ended"
    with server.connect() as there:
        with pytest.raises(faults.TookTooLong, match=r"running sh on ssh://.* took longer than 1 s"):
            there.run(["sh", "-c", f"trap 'echo > {mark}; exit' TERM; while :; do sleep 0.1; done"], timeout=1)
        assert mark.exists()
        assert there.run(["true"], timeout=20).code == 0


def test_a_port_of_the_device_is_reached(server):
    with socket.create_server(("127.0.0.1", 0)) as listener, server.connect() as there:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"here"), daemon=True).start()
        with there.forward(listener.getsockname()[1]) as port:
            assert port != listener.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                assert client.recv(10) == b"here"
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0


def test_a_login_shell_that_talks_is_passed_over(own_server):
    """sshd's ForceCommand stands in for the start-up file of a shell: it prints before every command."""
    server = own_server
    with server.config.open("a") as config:
        config.write('ForceCommand echo welcome; echo warning >&2; eval "$SSH_ORIGINAL_COMMAND"\n')
    server.stop()
    server.start()
    with server.connect() as there:
        assert there.run(["echo", "mine"], timeout=20).out == b"mine\n"


def test_a_way_that_is_gone_is_told_when_a_port_is_forwarded(own_server):
    """Not a port that is hard to get: nothing of it is forwarded any more."""
    with own_server.connect() as there:
        own_server.stop()
        with pytest.raises(faults.ConnectionCut, match="was cut while forwarding its port 8080"), there.forward(8080):
            pass


def test_an_ssh_that_hangs_is_a_cut_and_hides_no_other_fault(server, monkeypatch):
    """Both when a port is asked for and when it is given back."""
    with server.connect() as there:
        monkeypatch.setattr(ssh, "CONNECT_S", 1)
        master = there._keeper._process
        try:
            with pytest.raises(ValueError, match="of the test"), there.forward(8080):
                master.send_signal(signal.SIGSTOP)
                raise ValueError("of the test")
            cut = pytest.raises(faults.ConnectionCut, match="was cut while forwarding its port 8080; the device is up")
            with cut, there.forward(8080):
                pass
        finally:
            master.send_signal(signal.SIGCONT)


def test_a_port_that_ssh_cannot_listen_at_is_a_fault_with_a_hint(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken, server.connect() as there:
        monkeypatch.setattr(ssh, "free_port", lambda: taken.getsockname()[1])
        refused = pytest.raises(DeviceError, match=r"port 8080 of ssh://.* cannot be forwarded: .*forward")
        with refused as raised, there.forward(8080):
            pass
    assert not isinstance(raised.value, faults.Lost) and "listen at 127.0.0.1" in raised.value.hint


def test_what_a_killed_run_left_here_goes_with_the_next(server):
    """But not what a living one holds, and not what is just being made."""
    dead, living, new = (Path(tempfile.mkdtemp(prefix=ssh.SOCKETS, dir="/tmp")) for _ in range(3))
    (dead / "s").touch()
    for folder in (dead, living):
        os.utime(folder, (0, 0))
    held = os.open(living, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with server.connect() as there:
            own = there._sockets
            assert own.is_dir() and not dead.exists() and living.is_dir() and new.is_dir()
        assert not own.exists()
    finally:
        os.close(held)
        living.rmdir()
        new.rmdir()
