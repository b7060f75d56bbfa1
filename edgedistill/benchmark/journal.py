"""Every raw measurement of a benchmark, one JSON object a line, written as it comes: a cut connection loses nothing.

    {"kind": "run", …}       what was measured where; a run goes on only from rows of an equal one
    {"kind": "again", …}     here the run was cut, and went on later with another process of the runtime
    {"kind": "case", …}      what the runtime said to one golden case
    {"kind": "parity", …}    how the golden cases came out
    {"kind": "request", …}   one request (served.Times)
    {"kind": "state", …}     one look at the device (watch.State)
    {"kind": "peer", …}      llama-bench

It lies beside the bundle, which is sealed: `….new.jsonl` until bundle and report hold what was found (`finish`), then
`….jsonl`, in the place of the run before. A quick run has files of its own.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edgedistill import locks
from edgedistill.files import publish, write_rows

KEPT_S = 24 * 3600.0
"""An older run is not gone on with: firmware, cooling and the room may have changed."""


class Journal:
    """Rows of one run, in memory and on disk."""

    def __init__(self, to: Path, run: dict[str, Any]) -> None:
        """Go on with the rows of an equal run that was to come to `to` and was cut, else begin anew."""
        self.path = going(to)
        self.rows = _cut_run(self.path, run)
        self.resumed = len(self.measured)
        """Requests that an earlier, cut run has measured already."""
        write_rows(self.path, self.rows)  # also where they are all kept: a kill may have left half a line
        if self.rows:
            self.add("again", when=time.time())
        else:
            self.add("run", begun=time.time(), **run)

    def add(self, kind: str, **values: Any) -> None:
        """Append a row; it is on its way to the disk when this returns."""
        row = {"kind": kind, **values}
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The rows of a kind, without the word itself."""
        return [{key: value for key, value in row.items() if key != "kind"} for row in self.rows if row["kind"] == kind]

    @property
    def measured(self) -> list[dict[str, Any]]:
        """The requests that count. Those of a sustained phase that was cut are made again."""
        return [row for row in self.of("request") if row["phase"] == "measured"]

    def told(self) -> str:
        """What the next run goes on with: `1,204 requests and 24 golden cases`; empty where that is nothing."""
        counts = {"request": len(self.measured), "golden case": len(self.of("case"))}
        return " and ".join(f"{n:,} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n)

    def drop(self, **values: Any) -> None:
        """Forget rows, e.g. of a phase that has to be in one piece."""
        self.rows = [row for row in self.rows if any(row.get(key) != value for key, value in values.items())]
        write_rows(self.path, self.rows)

    def keep_first(self, count: int) -> None:
        """Forget the rows behind so many."""
        self.rows = self.rows[:count]
        write_rows(self.path, self.rows)


def place(bundle: Path, address: str, *, is_quick: bool = False) -> Path:
    """Where a finished run lies: beside the bundle, `dist/quickstart-rpi5.bench/ssh-pi@bench.jsonl`, or `…-quick.jsonl`
    for one that is not to end a full one.
    """
    plain = re.sub(r"[^\w.@]+", "-", address).strip("-")
    return bundle.with_name(f"{bundle.name}.bench") / f"{plain}{'-quick' if is_quick else ''}.jsonl"


def held(bundle: Path, address: str) -> AbstractContextManager[None]:
    """One benchmark of a bundle at an address at a time, until its rows are finished; others wait and say so."""
    return locks.held(place(bundle, address).with_suffix(".lock"), f"a benchmark of {bundle.name} at {address}")


def going(to: Path) -> Path:
    """Where its rows lie until it is finished."""
    return to.with_suffix(f".new{to.suffix}")


def finish(to: Path) -> None:
    """What was found is in bundle and report: the rows take the place of those of the run before."""
    publish(going(to), to)


def _cut_run(path: Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier run that is equal, not finished, and not too old; else none."""
    rows = _whole_rows(path)
    if not rows or rows[0]["kind"] != "run":
        return []
    begun = rows[0].get("begun", 0.0)
    is_equal = {key: value for key, value in rows[0].items() if key not in ("kind", "begun")} == run
    return rows if is_equal and time.time() - begun < KEPT_S else []


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    """Up to the first line that is not whole: a kill may have come in the middle of writing it."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return [row for row in rows if isinstance(row, dict) and "kind" in row]
