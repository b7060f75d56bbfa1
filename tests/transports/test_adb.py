"""The phone's transport over a stand-in for adb that runs the phone's shell here.

What it proves: the scripts survive being put together to one line by adb and run by the phone's kind of shell, codes
and bytes come back, ports and serial numbers are passed as adb wants them, and adb's words are understood as faults.
It does not prove that a phone's adbd ends what it started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgedistill import transport
from edgedistill.devices import faults
from edgedistill.errors import DeviceError
from edgedistill.transport import Address
from edgedistill.transports import adb

ADB = """\
#!/bin/sh
echo "$@" | head -n 1 >>{log}
if [ "$1" = -s ]; then
    [ "$2" = PHONE1 ] || {{ echo "adb: device '$2' not found" >&2; exit 1; }}
    shift 2
fi
case $1 in
shell) shift; [ "$1" = -T ] || exit 9; shift; exec {shell} -c "$*" ;;
forward) [ "$2" = --remove ] || echo 40404 ;;
esac
"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """adb's log of what it was asked."""
    log, program = tmp_path / "asked", tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(ADB.format(log=log, shell=shutil.which("mksh") or shutil.which("sh")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return log


@pytest.mark.parametrize("address", ["adb", "adb://PHONE1"])
def test_a_phone_is_used_like_any_device(address, phone, tmp_path):
    base = tmp_path / "device" / "edgedistill"
    file = tmp_path / "model.gguf"
    file.write_bytes(os.urandom(500_000))
    with transport.open_device(address, folder=str(base)) as device:
        assert device.run(["sh", "-c", "cat; exit 255"], timeout=20, input=b"\x00\xff") == transport.Result(
            255, b"\x00\xff", b""
        )
        assert device.run(["printf", "%s|", "it's", "$HOME *", "a  b"], timeout=20).text == "it's|$HOME *|a  b|"
        assert Path(device.push(file, "model.gguf")).read_bytes() == file.read_bytes()
        running = device.start(["sleep", "100"], log="p.log")
        assert running.poll() is None
        running.stop()
        assert running.poll() is not None
        with device.forward(8080) as port:
            assert port == 40404
    assert not base.exists()
    asked = phone.read_text()
    assert ("-s PHONE1 shell -T" if "PHONE1" in address else "shell -T") in asked
    assert "forward tcp:0 tcp:8080" in asked and "forward --remove tcp:40404" in asked


def test_an_adb_that_tells_no_port_or_hangs_is_a_fault(phone, tmp_path, monkeypatch):
    with transport.open_device("adb", folder=str(tmp_path / "device")) as device:
        monkeypatch.setattr(adb, "LIMIT_S", 0.5)
        _answering(phone, "sleep 30")
        with pytest.raises(faults.HostDown, match="adb does not answer"), device.forward(8080):
            pass
        _answering(phone, "")
        refused = pytest.raises(DeviceError, match="port 8080 of adb cannot be forwarded")
        with refused as raised, device.forward(8080):
            pass
        assert "update adb" in raised.value.hint
        _answering(phone, "echo 1")
        with pytest.raises(ValueError, match="of the test"), device.forward(8080):
            _answering(phone, "sleep 30")
            raise ValueError("of the test")


def _answering(log: Path, forward: str) -> None:
    """From now on, adb does this when a port is to be forwarded."""
    program = log.parent / "bin" / "adb"
    lines = [line for line in program.read_text().splitlines() if not line.startswith("forward)")]
    lines.insert(-1, f"forward) {forward} ;;")
    beside = program.with_name("adb.new")
    beside.write_text("\n".join(lines) + "\n")
    beside.chmod(0o755)
    beside.replace(program)


def test_another_serial_number_is_not_there(phone):
    with pytest.raises(faults.HostDown, match="adb://PHONE2 is not there: device 'PHONE2' not found") as raised:
        transport.open_device("adb://PHONE2").open()
    assert "adb devices" in raised.value.hint


@pytest.mark.parametrize(
    "words, kind",
    [
        ("adb: no devices/emulators found", faults.HostDown),
        ("error: device offline", faults.HostDown),
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", faults.LoginRefused),
        ("adb: more than one device/emulator", faults.NotReached),
        ("something new", faults.NotReached),
    ],
)
def test_adbs_words_are_understood(words, kind):
    assert type(adb.fault_of(Address("adb"), words)) is kind


def test_adb_says_error_in_front_and_we_do_too():
    found = adb.fault_of(Address("adb", "X"), "error: device 'X' not found\n")
    assert found.problem == "adb://X is not there: device 'X' not found"


def test_the_real_adb_says_that_no_phone_is_there(monkeypatch, tmp_path):
    """A real adb, with a server of its own on a free port and no phone."""
    if shutil.which("adb") is None:
        pytest.skip("needs adb")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(transport.components.load("transports", "ssh").free_port()))
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        with pytest.raises(faults.HostDown, match=r"adb is not there: .*no devices"):
            transport.open_device("adb").open()
    finally:
        subprocess.run(["adb", "kill-server"], capture_output=True, timeout=20)


def test_without_adb_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(faults.ProgramMissing, match="there is no `adb`"):
        transport.open_device("adb")
