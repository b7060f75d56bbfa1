"""The emulator: a real one, running a real program for 64-bit Arm."""

from __future__ import annotations

import os
import shutil

import pytest

from edgedistill import transport
from edgedistill.devices import faults
from edgedistill.errors import UsageError
from edgedistill.transports import qemu

# _start of a program that writes "arm\n" and ends with code 7, in A64 machine code: mov x0, 1; adr x1, text; mov x2, 4;
# mov x8, 64 (write); svc 0; mov x0, 7; mov x8, 93 (exit); svc 0. Encodings: Arm ARM, C6.2.
_CODE = ["d2800020", "100000e1", "d2800082", "d2800808", "d4000001", "d28000e0", "d2800ba8", "d4000001"]


@pytest.fixture
def program(tmp_path):
    """A static ELF file by hand: the header, one segment, the code."""
    code = b"".join(bytes.fromhex(word)[::-1] for word in _CODE) + b"arm\n"
    at, address = 120, 0x400000
    size = at + len(code)
    fields = [(2, 2), (183, 2), (1, 4), (address + at, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2)]
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"".join(value.to_bytes(n, "little") for value, n in fields)
    segment = [(1, 4), (5, 4), (0, 8), (address, 8), (address, 8), (size, 8), (size, 8), (0x1000, 8)]
    head = header.ljust(64, b"\0") + b"".join(value.to_bytes(n, "little") for value, n in segment)
    path = tmp_path / "hello-arm"
    path.write_bytes(head + code)
    path.chmod(0o755)
    return path


@pytest.fixture
def needs_qemu():
    if not any(map(shutil.which, qemu.EMULATORS)):
        pytest.skip("needs qemu-aarch64 (qemu-user-static)")


def test_the_devices_own_program_runs_here(needs_qemu, program):
    with transport.open_device("qemu://cortex-a76") as device:
        assert device.evidence == "emulated"
        done = device.run([device.push(program, "hello"), "x"], timeout=60)
        assert (done.code, done.text) == (7, "arm\n")
        assert device.run(["env", "A=b", str(program)], timeout=60).text == "arm\n"
        assert device.run(["uname", "-m"], timeout=20).text.strip() == os.uname().machine  # not a program of the device
        facts = device.facts()
    assert (facts.machine, facts.cpu, facts.cpu_features) == ("aarch64", "cortex-a76 (emulated)", ())


def test_programs_of_this_machine_are_refused_as_the_devices(needs_qemu):
    if os.uname().machine == "aarch64":
        pytest.skip("this machine is a 64-bit Arm itself")
    with transport.open_device("qemu://cortex-a76") as device, pytest.raises(faults.WrongArchitecture):
        device.push(qemu.Path("/bin/sh").resolve(), "sh")


def test_an_unknown_cpu_is_refused_with_a_near_one(needs_qemu):
    with pytest.raises(UsageError, match="QEMU knows no CPU `cortex-a67`") as raised:
        transport.open_device("qemu://cortex-a67")
    assert "did you mean `cortex-a" in raised.value.hint


def test_without_qemu_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(faults.ProgramMissing, match="needs QEMU's user-mode emulator") as raised:
        transport.open_device("qemu://cortex-a76")
    assert "apt install qemu-user-static" in raised.value.hint
