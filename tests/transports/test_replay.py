"""A run on a real device (this machine) is recorded, and played again."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from edgedistill import transport
from edgedistill.devices import faults, tape
from edgedistill.errors import UsageError
from edgedistill.files import read_rows

SERVER = """
import http.server, json, sys
class Twice(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(503 if self.server.asked == 0 else 200, {"asked": self.server.asked})
        self.server.asked += 1
    def do_POST(self):
        n = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(200, {"twice": 2 * n})
    def answer(self, code, value):
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Twice)
server.asked = 0
print("port", server.server_port, flush=True)
server.serve_forever()
"""


def ask(port: int, body: bytes | None = None) -> object:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/x?y=1", body, timeout=20) as response:
            assert response.headers["content-type"] == "application/json"
            return json.load(response)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights \xff")
    return path


def a_run(device: transport.Device, model, *, polls: int = 1, numbers=(4, 5)) -> list[object]:
    """What a benchmark does, in small; `polls` is a matter of time."""
    seen: list[object] = [device.evidence, device.folder, device.facts().machine, device.push(model, "model.gguf")]
    seen.append(device.run(["cat"], timeout=20, input=b"\x00\xff"))
    seen.append(device.sample(["/proc/sys/kernel/ostype", "/no"]))
    running = device.start([sys.executable, "-c", SERVER], log="server.log")
    while "port" not in (said := running.tail()):
        time.sleep(0.05)
    with device.forward(int(said.split()[1])) as port:
        for _ in range(polls):
            ask(port), running.poll()
        seen += [ask(port, str(number).encode()) for number in numbers]
    running.stop()
    seen.append(running.poll())
    (model.parent / "back").unlink(missing_ok=True)
    seen.append(device.pull(str(model), model.parent / "back").read_bytes())
    return seen


@pytest.fixture
def recorded(tmp_path, model):
    """What was seen on the device, and the address of the tape."""
    path = tmp_path / "tapes" / "run.tape"
    with tape.record(transport.open_device("local"), path) as device:
        seen = a_run(device, model, polls=3)
    return seen, f"replay://{path}"


@pytest.mark.parametrize("polls", [1, 3, 6])
def test_the_same_is_seen_again_however_often_it_is_looked_at(recorded, model, polls):
    seen, address = recorded
    assert {"twice": 8} in seen and {"twice": 10} in seen
    with transport.open_device(address) as device:
        assert a_run(device, model, polls=polls) == seen


def test_nothing_runs(recorded, model, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with transport.open_device(recorded[1]) as device:
        a_run(device, model)


def test_looks_come_in_the_order_of_the_tape(recorded):
    """A server that is not ready at first is so again."""
    path = Path(transport.parse(recorded[1]).name)
    rows = [row for row in read_rows(path) if row["call"] == "http" and row["method"] == "GET"]
    assert [row["status"] for row in rows] == [503, 200, 200]
    device = transport.open_device(recorded[1])
    device._done = 4  # push, run, start, forward
    look = {name: rows[0][name] for name in ("port", "method", "path", "body_sha256")}
    assert [device.look("http", **look)["status"] for _ in range(5)] == [503, 200, 200, 200, 200]


def test_the_first_difference_is_named(recorded, model):
    with transport.open_device(recorded[1]) as device, pytest.raises(faults.TapeDiffers) as raised:
        device.push(model, "other.gguf")
    assert raised.value.problem.endswith('step 1, push: `name` is "other.gguf", on the tape "model.gguf"')
    assert raised.value.exit_code == 3
    model.write_bytes(b"other weights")
    with transport.open_device(recorded[1]) as device, pytest.raises(faults.TapeDiffers, match="push: `sha256` is"):
        device.push(model, "model.gguf")


def test_another_step_is_named(recorded, model):
    with transport.open_device(recorded[1]) as device:
        device.push(model, "model.gguf")
        with pytest.raises(faults.TapeDiffers, match=r'step 2 is start .*; on the tape it is run \{"argv": \["cat"\]'):
            device.start(["sleep", "1"], log="x")


def test_a_look_that_is_not_on_the_tape_is_named(recorded):
    with transport.open_device(recorded[1]) as device, pytest.raises(faults.TapeDiffers, match=r"sample .*/proc/stat"):
        device.sample(["/proc/stat"])


def test_a_request_that_is_not_on_the_tape_ends_the_run_even_if_the_asker_goes_on(recorded, model):
    unknown = pytest.raises(faults.TapeDiffers, match=r'http \{"port": \d+, "method": "POST", "path": "/x\?y=1"')
    with unknown, transport.open_device(recorded[1]) as device:
        assert a_run(device, model, numbers=(4, 6))[-3] == 501


def test_a_fault_comes_again(tmp_path):
    path = tmp_path / "fault.tape"
    for address in ("local", f"replay://{path}"):
        device = transport.open_device(address)
        too_long = pytest.raises(faults.TookTooLong, match="running sleep on local took longer than 1 s")
        with too_long, tape.record(device, path) if address == "local" else device as there:
            there.run(["sleep", "20"], timeout=1)


def test_what_is_no_tape_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        transport.open_device(f"replay://{tmp_path}/none")
    (tmp_path / "other").write_text('{"call": "run"}\n')
    with pytest.raises(UsageError, match="does not begin like a tape"):
        transport.open_device(f"replay://{tmp_path}/other")
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(UsageError, match="line 1"):
        transport.open_device(f"replay://{tmp_path}/text")


def test_a_device_that_was_not_reached_is_not_reached_again(tmp_path):
    if shutil.which("ssh") is None:
        pytest.skip("needs ssh (openssh-client)")
    path = tmp_path / "down.tape"
    unknown = r"nobody knows a host called `no-such-board\.invalid`"
    with pytest.raises(faults.NameNotResolved, match=unknown):
        tape.record(transport.open_device("ssh://no-such-board.invalid"), path).open()
    with pytest.raises(faults.NameNotResolved, match=unknown):
        transport.open_device(f"replay://{path}").open()
