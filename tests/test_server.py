"""How a server is asked again, told by what a small HTTP server of the test saw.

The server here is a fake: it answers from a script, with nothing behind it. It proves what is sent, how often and when,
and what becomes of every kind of failure, none of which a real server shows when asked. It does not prove that a real
one understands the requests; tests/engines/test_openai.py does.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edgedistill import server as asking
from edgedistill.errors import StageFailed, UsageError
from edgedistill.sections import Requests
from edgedistill.server import Pace, Server, Stopped

GOOD = (200, {}, b'{"ok": true}')
BUSY = (429, {"Retry-After": "1"}, b'{"error": {"message": "slow down"}}')
KEY = "key-that-nobody-may-see"


class Fake:
    """Answers with one entry of `script` after the other: (status, headers, content), `cut` or `hang`."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.seen: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                seen = {"path": self.path, "body": self.rfile.read(length), "at": time.monotonic()}
                with fake.lock:
                    fake.seen.append({**seen, "key": self.headers.get("Authorization")})
                    step = fake.script.pop(0) if fake.script else GOOD
                if step == "hang":
                    fake.over.wait(20)
                elif step == "cut":
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif step == "half":
                    self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ok":')
                else:
                    status, headers, content = step
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def pauses(self) -> list[float]:
        """Seconds between one request and the next."""
        times = [seen["at"] for seen in self.seen]
        return [after - before for before, after in pairwise(times)]


@pytest.fixture
def fake() -> Iterator[Any]:
    made: list[Fake] = []

    def start(*script: Any) -> Fake:
        made.append(Fake(*script))
        return made[-1]

    yield start
    for one in made:
        one.close()


def server(fake: Fake, **how: Any) -> Server:
    return Server(fake.address, KEY, Requests(**{"pause_s": 0.01, "tries": 4, **how}))


def test_the_request_is_json_with_the_key_as_bearer_token(fake):
    one = fake(GOOD)
    assert server(one).post("/chat/completions", {"a": "Grüße"}, seed=1) == {"ok": True}
    (seen,) = one.seen
    assert (seen["path"], seen["key"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert json.loads(seen["body"]) == {"a": "Grüße"}


@pytest.mark.parametrize(
    "failure",
    [(500, {}, b"oh"), (503, {}, b""), (408, {}, b""), (200, {}, b'{"ok": tr'), (200, {}, b"<html>"), "cut", "half"],
    ids=str,
)
def test_what_passes_is_tried_again(fake, failure):
    one = fake(failure, failure, GOOD)
    assert server(one).post("/x", {}, seed=1) == {"ok": True}
    assert len(one.seen) == 3


def test_a_server_that_hangs_is_asked_again_after_the_timeout(fake):
    one = fake("hang", GOOD)
    assert server(one, timeout_s=0.3).post("/x", {}, seed=1) == {"ok": True}
    assert 0.3 <= one.pauses()[0] < 5


def test_pauses_double_and_repeat_with_the_seed(fake):
    busy = (503, {}, b"")
    one = fake(busy, busy, busy, GOOD)
    server(one, pause_s=0.1).post("/x", {}, seed=1)
    for number, pause in enumerate(one.pauses()):
        assert 0.5 * 0.1 * 2**number <= pause < 1.5 * 0.1 * 2**number + 0.3
    waits = []
    for seed in (1, 1, 2):
        other = server(one)
        other._stopped.wait = lambda seconds: waits.append(seconds) or False
        one.script[:] = [busy, busy, busy, GOOD]
        other.post("/x", {}, seed=seed)
    # each request: its turn, then a pause, and so on; the pauses are every second one
    first, again, differently = waits[1:6:2], waits[8:13:2], waits[15:20:2]
    assert first == again != differently and len(first) == 3


def test_retry_after_holds_everybody_back(fake):
    one = fake(BUSY)
    both = server(one)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(both.post, "/x", {}, 1)
        while not one.seen:
            time.sleep(0.01)
        time.sleep(0.2)
        second = pool.submit(both.post, "/x", {}, 2)
        assert first.result() == second.result() == {"ok": True}
    assert one.seen[1]["at"] - one.seen[0]["at"] >= 1


def test_retry_after_as_a_date():
    late = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert asking._retry_after({"retry-after": late}) == pytest.approx(90, abs=3)
    assert asking._retry_after({"Retry-After": "7"}) == 7
    assert asking._retry_after({"Retry-After": "soon"}) is None
    assert asking._retry_after({}) is None


def test_a_pause_of_hours_ends_the_stage_at_once(fake):
    one = fake((429, {"Retry-After": "7200"}, b""))
    with pytest.raises(StageFailed, match=r"429 Too Many Requests; it asks for a pause of 7,200 s"):
        server(one).post("/x", {}, seed=1)
    assert len(one.seen) == 1


def test_the_last_try_tells_what_went_wrong(fake):
    one = fake(*[(502, {}, b"no model behind the gateway")] * 9)
    with pytest.raises(StageFailed, match=r"failed 4 times in a row, last: 502 .*no model behind") as caught:
        server(one).post("/x", {}, seed=1)
    assert len(one.seen) == 4
    assert "what was answered is not asked again" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (400, b'{"error": {"message": "too long: 9000 tokens"}}', "400 Bad Request: too long: 9000 tokens"),
        (401, f'{{"error": {{"message": "wrong key {KEY}"}}}}'.encode(), r"401 Unauthorized: wrong key \(the key\)"),
        (404, b'{"detail": "Not Found"}', "404 Not Found: Not Found"),
        (429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}', "429 Too Many Requests: pay"),
        (307, b"", "307 Temporary Redirect"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(fake, status, content, said):
    one = fake((status, {"Location": "http://127.0.0.1:9/"}, content))
    with pytest.raises(UsageError, match=said) as caught:
        server(one).post("/x", {}, seed=1)
    assert len(one.seen) == 1
    assert KEY not in caught.value.problem + caught.value.hint


def test_the_key_is_not_in_what_is_said_between_two_tries(fake, capsys):
    one = fake((500, {}, f"\x1b[31mkey {KEY} {'x' * 2000}".encode()), GOOD)
    server(one).post("/x", {}, seed=1)
    told = capsys.readouterr().err
    assert "500 Internal Server Error: [31mkey (the key) xxx" in told and "try 2 of 4" in told
    assert KEY not in told and len(told) < 500


def test_requests_begin_no_faster_than_the_limit(fake):
    one = fake()
    limited = server(one, per_minute=600)  # one in 0.1 s
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: limited.post("/x", {}, seed), range(6)))
    times = sorted(seen["at"] for seen in one.seen)
    assert times[-1] - times[0] >= 0.45


def test_without_a_limit_nobody_waits():
    pace, begun = Pace(None), time.monotonic()
    assert all(pace.wait(threading.Event()) for _ in range(1000))
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("cut", [True, False])
def test_a_stop_ends_pauses_and_on_demand_what_is_under_way(fake, cut):
    one = fake("hang", "hang") if cut else fake(BUSY)
    stopped = server(one, pause_s=30, timeout_s=30)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(stopped.post, "/x", {}, 1)
        while not one.seen:
            time.sleep(0.01)
        time.sleep(0.1)
        begun = time.monotonic()
        stopped.stop(cut=cut)
        with pytest.raises(Stopped):
            pending.result()
    assert time.monotonic() - begun < 5


def test_a_look_that_finds_nobody_says_so_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UsageError, match=rf"no server answers at http://127\.0\.0\.1:{port}/v1: Connection"):
        Server(f"http://127.0.0.1:{port}/v1", None, Requests()).get("/models")


@pytest.fixture
def certificate(tmp_path) -> Path:
    """Key and certificate of 127.0.0.1, signed by nobody but itself."""
    if not shutil.which("openssl"):
        pytest.skip("needs `openssl` to make a certificate")
    made = tmp_path / "server.pem"
    what = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test -addext"
    line = ["openssl", "req", *what.split(), "subjectAltName=IP:127.0.0.1", "-keyout", str(made), "-out", str(made)]
    subprocess.run([*line[:-1], str(tmp_path / "cert.pem")], check=True, capture_output=True)
    made.write_text(made.read_text() + (tmp_path / "cert.pem").read_text())
    return made


def test_https_needs_a_certificate_that_is_trusted(fake, certificate, monkeypatch):
    one = fake(GOOD)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    one.http.socket = tls.wrap_socket(one.http.socket, server_side=True)
    one.address = one.address.replace("http:", "https:")
    with pytest.raises(UsageError, match="shows a certificate that is not trusted"):
        server(one).post("/x", {}, seed=1)
    assert not one.seen
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert server(one).post("/x", {}, seed=1) == {"ok": True}


def test_https_goes_through_the_proxy_of_the_environment_with_nothing_to_read(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        heard: list[bytes] = []

        def listen() -> None:
            caller, _ = proxy.accept()
            with caller:
                heard.append(caller.recv(4096))
                caller.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://me:word@127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(UsageError, match="Tunnel connection failed: 403 Forbidden"):
            Server("https://server.invalid/v1", KEY, Requests()).get("/models")
        thread.join(5)
    (said,) = heard
    assert said.startswith(b"CONNECT server.invalid:443 ")
    assert b"Basic " + base64.b64encode(b"me:word") in said and KEY.encode() not in said


@pytest.mark.parametrize("reply", [(404, {}, b"no"), (200, {}, b"<html>"), (500, {}, b"")])
def test_a_look_at_what_is_not_there_finds_nothing(fake, reply):
    assert server(fake(reply)).get("/models") is None
