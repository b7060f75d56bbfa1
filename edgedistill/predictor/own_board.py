"""One measured pair from the user's own board, which removes most of the error: boards of one kind differ by 16%.

One file per target; every prediction for that target and backend uses it from then on. The last run counts. One that
throttled, or was disturbed, or was made on another device, must not be stored.

    ~/.local/share/edgedistill/calibration/<target>.json
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgedistill.errors import UsageError
from edgedistill.files import write_json
from edgedistill.predictor.work import Work


@dataclass(frozen=True)
class Pair:
    """What was run, and how fast it was."""

    work: Work
    decode_tok_s: float | None
    prefill_tok_s: float | None
    measured: str
    """Where and when, for the reader: `ssh://pi@bench, 2026-11-21, llama-server`."""
    is_quick: bool = False
    """Of a few requests: it does not replace one of a full run."""

    def identity(self) -> dict[str, Any]:
        """All of it: a stage that predicts runs again after a new calibration."""
        return asdict(self)


def store(target: str, pair: Pair) -> Path:
    """Keep a pair for a target, in place of an earlier one."""
    return write_json(_file(target), asdict(pair))


def stored(target: str) -> Pair | None:
    """The pair of a target, if somebody measured one."""
    file = _file(target)
    if not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return Pair(**{**raw, "work": Work(**raw["work"])})
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"the calibration of `{target}` is not readable: {error}", f"remove {file} and measure again"
        ) from None


def folder() -> Path:
    """Where pairs lie; XDG_DATA_HOME moves it."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "edgedistill" / "calibration"


def _file(target: str) -> Path:
    plain = re.sub(r"[^\w.-]", "_", target)
    return folder() / f"{plain}.json"
