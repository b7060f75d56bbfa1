"""What a server has answered, on disk from the moment it came: a broken run asks nothing twice.

Shards hold hundreds of answers and are written when all are there. With a server every answer costs money or minutes,
so each is also appended here, under a hash of its request. `shards.on_demand` removes the file when the stage is done.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any


class Answered:
    """A file of rows `{"request": hash, "text": answer}`; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()
        if path is not None and path.is_file():
            self._read(path)

    def find(self, request: Any) -> str | None:
        """The answer to a request (anything that JSON can hold), where it is known."""
        return self._texts.get(_hash(request))

    def keep(self, request: Any, text: str) -> None:
        """Safe to be called by several threads."""
        if self._path is None:
            return
        name = _hash(request)
        row = json.dumps({"request": name, "text": text})
        with self._lock:
            self._texts[name] = text
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                # The line break comes first: a row that a kill cut short spoils no other.
                file.write(f"\n{row}")

    def _read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                self._texts[row["request"]] = row["text"]
            except (ValueError, KeyError, TypeError):
                continue  # cut short: it is asked again


def _hash(request: Any) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]
