"""Asking a server over HTTP: again after a pause while it is busy, never faster than allowed, the key on no paper.

One connection per request: beside the seconds that an answer takes it costs nothing, and no request can meet a
connection that the server has closed in the meantime.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from edgedistill.errors import EdgeDistillError, StageFailed, UsageError
from edgedistill.log import say
from edgedistill.sections import Requests
from edgedistill.server_address import is_loopback

LONGEST_PAUSE_S = 60.0
"""Between two tries, where the server does not ask for more."""
LONGEST_RETRY_AFTER_S = 600.0
"""A server that asks for a longer pause ends the stage: what it answered is kept."""
_CONNECT_S = 30.0
_TOLD_EVERY_S = 10.0
_GO_ON = "run the same command again: it goes on, and what was answered is not asked again"


class Stopped(Exception):
    """Another request failed, or the user interrupted: this one is not tried again."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class Server:
    """Safe to be used by several threads.

    address  as server_address.checked gives it
    key      sent as bearer token; never shown, also where the server repeats it
    """

    def __init__(self, address: str, key: str | None, how: Requests) -> None:
        parts = urlsplit(address)
        self.address, self.how = address, how
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port
        self._folder = parts.path
        self._key = key
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        self._headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._pace = Pace(how.per_minute)
        self._under_way: set[socket.socket] = set()
        self._stopped = threading.Event()
        self._told = -_TOLD_EVERY_S

    def get(self, path: str) -> Any:
        """The JSON at a path, or None where the server has no such thing.

        Raises  UsageError when nobody answers at the address, or the key is refused. Nothing is tried twice.
        """
        try:
            reply = self._once("GET", path, None)
        except (OSError, http.client.HTTPException) as error:
            raise UsageError(
                f"no server answers at {self.address}: {_told(error)}",
                "start it, or mend `base_url`; what is finished is kept",
            ) from error
        if reply.status in (401, 403):
            raise self._refused(reply)
        with suppress(ValueError):
            return json.loads(reply.content) if reply.status == 200 else None
        return None

    def post(self, path: str, body: dict[str, Any], seed: int) -> Any:
        """The JSON that the server answers with.

        seed    of the pauses: they differ between requests, and repeat between runs
        Raises  UsageError when the server refuses the request, StageFailed when the last try failed too,
                Stopped after `stop()`
        """
        payload = json.dumps(body).encode()
        for number in range(1, self.how.tries + 1):
            if not self._pace.wait(self._stopped):
                raise Stopped
            try:
                reply = self._once("POST", path, payload)
            except (OSError, http.client.HTTPException) as error:
                problem, pause = _told(error), None
            else:
                if reply.status == 200:
                    with suppress(ValueError):
                        return json.loads(reply.content)
                problem, pause = self._problem(reply), _retry_after(reply.headers)
                if not _is_passing(reply):
                    raise self._refused(reply)
            if number < self.how.tries:
                self._wait(number, problem, pause, seed)
        raise StageFailed(f"{self.address} failed {self.how.tries} times in a row, last: {problem}", _GO_ON)

    def stop(self, *, cut: bool) -> None:
        """Try nothing again from now on; `cut` also ends what is under way."""
        self._stopped.set()
        for connected in list(self._under_way) if cut else ():
            with suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def _once(self, method: str, path: str, payload: bytes | None) -> Reply:
        connection = self._connection()
        connected = None
        try:
            connection.connect()
            connected = connection.sock
            connected.settimeout(self.how.timeout_s)
            self._under_way.add(connected)
            if self._stopped.is_set():
                raise ConnectionAbortedError("stopped")
            connection.request(method, self._folder + path, payload, self._headers)
            got = connection.getresponse()
            return Reply(got.status, got.reason, dict(got.headers.items()), got.read())
        except ssl.SSLCertVerificationError as error:
            hint = "where it is your own, name a file with its authority's certificate in SSL_CERT_FILE"
            raise UsageError(f"{self.address} shows a certificate that is not trusted: {error}", hint) from error
        finally:
            self._under_way.discard(connected)
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        limit = min(_CONNECT_S, self.how.timeout_s)
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=limit)
        proxy = None if is_loopback(self._host) or proxy_bypass(self._host) else getproxies().get("https")
        if not proxy:
            return http.client.HTTPSConnection(self._host, self._port, timeout=limit, context=self._tls)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        made = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=limit, context=self._tls)
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        sent = {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if parts.username else {}
        made.set_tunnel(self._host, self._port, sent)
        return made

    def _wait(self, number: int, problem: str, asked_for: float | None, seed: int) -> None:
        """Pause before the next try: what the server asks for, else ever longer, each request a little differently."""
        if asked_for is not None and asked_for > LONGEST_RETRY_AFTER_S:
            raise StageFailed(f"{self.address}: {problem}; it asks for a pause of {asked_for:,.0f} s", _GO_ON)
        doubled = min(LONGEST_PAUSE_S, self.how.pause_s * 2 ** (number - 1))
        pause = doubled * Random(f"{seed} {number}").uniform(0.5, 1.5)
        if asked_for is not None:
            pause = max(asked_for, pause)
            self._pace.pause(asked_for)  # the others would be turned away too
        if not self._stopped.is_set() and time.monotonic() - self._told >= _TOLD_EVERY_S:
            self._told = time.monotonic()
            say(f"  {self.address}: {problem}; try {number + 1} of {self.how.tries} in {pause:,.1f} s")
        if self._stopped.wait(pause):
            raise Stopped

    def _refused(self, reply: Reply) -> EdgeDistillError:
        hint = {
            401: "name the variable that holds the key in `api_key_env`, and check the key",
            403: "check what the key in `api_key_env` may do",
            404: "check `base_url` (it ends with /v1 on most servers) and the model's name",
            429: "the account has no quota left; what was answered is kept",
        }.get(reply.status, "mend what the server names, in the teacher's section; what was answered is kept")
        return UsageError(f"{self.address} refuses the request: {self._problem(reply)}", hint)

    def _problem(self, reply: Reply) -> str:
        """`429 Too Many Requests: slow down`, in one line, without the key."""
        if reply.status == 200:
            return f"an answer that is not whole JSON ({len(reply.content):,} bytes)"
        said = self.shown(_said(reply.content))
        return f"{reply.status} {self.shown(reply.reason)}" + (f": {said}" if said else "")

    def shown(self, text: str) -> str:
        """What a server says, fit for the terminal: one line, not long, no control characters, and never the key."""
        text = text.replace(self._key, "(the key)") if self._key else text
        return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())[:300]


class Pace:
    """When the next request may begin."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stopped: threading.Event) -> bool:
        """Wait for this request's turn; False when stopped in the meantime."""
        with self._lock:
            begin = max(self._next, time.monotonic())
            self._next = begin + self._gap
        return not stopped.wait(max(0.0, begin - time.monotonic()))

    def pause(self, seconds: float) -> None:
        """Nobody's turn before this many seconds are over."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def _is_passing(reply: Reply) -> bool:
    """Whether the same request may succeed later. An empty account does not fill by itself."""
    if reply.status == 429 and b"insufficient_quota" in reply.content:
        return False
    return reply.status in (200, 408, 425, 429) or reply.status >= 500


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or from a date (RFC 9110, sec. 10.2.3); None where there is none to be understood."""
    text = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _said(content: bytes) -> str:
    """The server's own words: `error.message` of OpenAI's form, `detail` of FastAPI's, else the text."""
    text = content.decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    for name in ("error", "message", "detail"):
        found = found[name] if isinstance(found, dict) and name in found else found
    return found if isinstance(found, str) else json.dumps(found)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
