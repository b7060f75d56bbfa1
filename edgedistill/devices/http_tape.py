"""Requests to a forwarded port: passed on and written down, or answered from a tape."""

from __future__ import annotations

import base64
import hashlib
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

LIMIT_S = 3600.0
"""For an answer: a slow board thinks for minutes."""
_OWN = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
"""Headers of one connection, which the next one makes anew."""


class Answers(Protocol):
    """(method, path, sha256 of the body) -> `status`, `headers`, `body` of the recorded answer; None without one."""

    def __call__(self, method: str, path: str, body_sha256: str) -> dict[str, Any] | None: ...


@contextmanager
def recording(port: int, write: Callable[..., None]) -> Iterator[int]:
    """A port of this machine that passes requests on to another, as they come, and writes down the answers."""

    def answer(request: _Request) -> None:
        body = request.body()
        real = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        said = b""
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN | {"host"}}
            real.request(request.command, request.path, body, headers)
            response = real.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _OWN}
            request.begin(response.status, kept)
            while part := response.read1(65536):
                said += part
                request.wfile.write(part)
        except (OSError, http.client.HTTPException):
            return  # the asker sees the same: a connection that ends early
        finally:
            real.close()
        write(**request.asked(body), status=response.status, headers=kept, body=base64.b64encode(said).decode())

    with _serving(answer) as own:
        yield own


@contextmanager
def replaying(answers: Answers) -> Iterator[int]:
    """A port of this machine that answers from a tape."""

    def answer(request: _Request) -> None:
        asked = request.asked(request.body())
        found = answers(asked["method"], asked["path"], asked["body_sha256"])
        if found is None:
            request.begin(501, {"content-type": "text/plain"})
            request.wfile.write(f"the tape has no answer to this {request.command} {request.path}\n".encode())
        else:
            request.begin(found["status"], found["headers"])
            request.wfile.write(base64.b64decode(found["body"]))

    with _serving(answer) as own:
        yield own


class _Request(BaseHTTPRequestHandler):
    """One request. The answer ends with the connection, so that it can be passed on while it is written."""

    answer: Callable[[_Request], None]

    def do_GET(self) -> None:
        type(self).answer(self)

    do_POST = do_GET

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def asked(self, body: bytes) -> dict[str, str]:
        return {"method": self.command, "path": self.path, "body_sha256": hashlib.sha256(body).hexdigest()}

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: progress is for people."""


@contextmanager
def _serving(answer: Callable[[_Request], None]) -> Iterator[int]:
    kind = type("Request", (_Request,), {"answer": staticmethod(answer)})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
