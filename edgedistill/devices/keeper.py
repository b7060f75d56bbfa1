"""Our side of keeper.sh, the process on the device that lives as long as the connection and cleans up after us."""

from __future__ import annotations

import os
import re
import selectors
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TEXT = Path(__file__).with_name("keeper.sh").read_text(encoding="utf-8")
SCRIPT = re.sub(r"^\s*(#.*)?\n", "", _TEXT, flags=re.MULTILINE)
"""Without comments: it is sent, and shown in the device's list of processes."""
BEAT_S = 10.0
"""Between two signs of life. Two minutes of silence are the end for the device's side."""
LEAVE_S = 20.0
"""Time for ending processes and removing files."""


@dataclass(frozen=True)
class Word:
    """The first thing that a keeper says.

    `ready BOOT files|none MACHINE KERNEL FOLDER`, `busy KEEPER OWNER`, `lacks PROGRAM`, `unusable FOLDER`; `silent`
    when it ended without one.
    """

    kind: str
    first: str = ""
    rest: str = ""


class Keeper:
    """A started keeper. It dies with us: its stdin is a pipe of this process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C ends us in order, not the connection under our feet
        )
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._errors: list[bytes] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def first_word(self, limit_s: float) -> Word:
        """What it says first; `silent` also after `limit_s`. What the login shell prints before is passed over."""
        stream = self._process.stdout
        assert stream is not None
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            end = time.monotonic() + limit_s
            while time.monotonic() < end:
                if not selector.select(end - time.monotonic()):
                    break
                read = os.read(stream.fileno(), 4096)
                said += read
                found = re.search(rb"^edgedistill (\w+) ?(\S*) ?(.*)\n", said, re.MULTILINE)
                if found:
                    kind, first, rest = (part.decode(errors="replace") for part in found.groups())
                    return Word(kind, first, rest)
                if not read:
                    break
        return Word("silent")

    def beat(self) -> None:
        """Let it hear of us from now on, so that it notices when the way to us is gone without a sign."""
        threading.Thread(target=self._beat, daemon=True).start()

    def leave(self, word: str) -> bool:
        """Have it end our processes and clean up. Whether it did: it cannot when the connection is gone."""
        self._stopped.set()
        self._say(word)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with self._lock, suppress(OSError):  # what was left to write found nobody
            stdin.close()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        has_left = b"edgedistill left" in stdout.read()
        self._reader.join(LEAVE_S)
        stdout.close()
        return has_left

    def errors(self) -> str:
        """What came on stderr, once it has ended."""
        self._reader.join(2)
        return b"".join(self._errors).decode(errors="replace").strip()

    def _say(self, word: str) -> bool:
        stdin = self._process.stdin
        assert stdin is not None
        with self._lock:
            try:
                stdin.write(f"{word}\n".encode())
                stdin.flush()
            except (OSError, ValueError):  # it ended, or we closed the pipe
                return False
        return True

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_S) and self._say("beat"):
            pass

    def _read_errors(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with stream:
            for line in stream:
                self._errors = [*self._errors[-40:], line]


def script(base: str, needs: Sequence[str], evict: str = "") -> str:
    """keeper.sh with what it is given."""
    given = {"base": base, "owner": owner(), "needs": " ".join(needs), "evict": evict, "pause": f"{BEAT_S:g}"}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items()) + SCRIPT


def owner() -> str:
    """Who holds a device: `host:boot:namespace:process`, one word.

    Many machines have the same name, and the first namespace of processes has the same number on all of them; only the
    boot id tells them apart. Containers of one host number their processes anew.
    """
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())
    namespace = Path("/proc/self/ns/pid")
    return f"{host}:{boot_id()}:{os.stat(namespace).st_ino if namespace.exists() else 0}:{os.getpid()}"


@cache
def boot_id() -> str:
    """Of this machine; empty where it does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    with suppress(OSError):
        mac = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(mac, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()
    return ""


def is_dead(other: str) -> bool:
    """Whether an owner was a process of this machine that has ended: its keeper just has not noticed yet."""
    host, _, number = other.strip().rpartition(":")
    if not boot_id() or host != owner().rpartition(":")[0] or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
