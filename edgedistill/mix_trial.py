"""A mix and llama.cpp's own mixture of its size, both measured on rows that neither of them was fitted to.

A mix is chosen by costs that were measured one matrix at a time. Whether their sum holds for the whole file, and on
other rows, is not known before: here the mix can lose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import gguf_file, quantized, shift
from edgedistill.artifacts import Calibration
from edgedistill.engine import open_file
from edgedistill.log import say
from edgedistill.quantization import type_counts
from edgedistill.quantized import Planned

_POSITIONS = 2048
"""Answer tokens that are compared: enough for the mean, and their log probabilities take 64 MiB."""

Row = tuple[list[int], int]
"""Token ids, and where the answer begins."""


@dataclass(frozen=True)
class Trial:
    """What the float file says at every token of the held-out rows' answers.

    Shapes   P answer tokens of all rows, one after the other; K kept tokens of the vocabulary
    """

    rows: Sequence[Row]
    ids: Any
    """(P, K) int32, the likeliest first"""
    log_probs: Any
    """(P, K) float32"""

    @property
    def positions(self) -> int:
        return len(self.ids)

    def kl(self, file: Path) -> float:
        """Mean KL from the float file to another one, nats per answer token."""
        total, begin = 0.0, 0
        for after in _read(file, self.rows):
            part = slice(begin, begin + len(after))
            total += float(shift.divergences(self.ids[part], self.log_probs[part], after).sum())
            begin += len(after)
        return round(total / self.positions, 6)


def make(
    source: Path, planned: Planned, file: Path, calibration: Calibration, scratch: Path, limit_s: float
) -> dict[str, Any]:
    """Make a mix, and return its line of mixes.jsonl. Its rivals are measured first, and gone before it is made."""
    trial = opened(source, calibration)
    rivals = []
    for rival in planned.rivals:
        beside = scratch / "rival.gguf"
        quantized.make(source, rival, beside, limit_s)
        rivals.append(_uniform(beside, rival.quant, trial))
        beside.unlink()
    quantized.make(source, planned, file, limit_s)
    assert planned.fitted
    line = {
        **planned.fitted,
        "kl": trial.kl(file),
        "positions": trial.positions,
        "uniform": min(rivals, key=lambda rival: rival["kl"], default=None),
    }
    _tell(line)
    return line


def _uniform(file: Path, quant: str, trial: Trial) -> dict[str, Any]:
    head = gguf_file.read(file)
    bits = round(8 * head.tensor_bytes / head.parameters, 4)
    return {"quant": quant, "bytes": file.stat().st_size, "bits_per_weight": bits, "kl": trial.kl(file)}


def _tell(line: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in type_counts(line["types"]).items())
    told = f"{line['bits_per_weight']:.2f} bits per weight ({counts}), "
    told += f"KL {line['kl']:.4f} nats at {line['positions']:,} held-out tokens"
    if uniform := line["uniform"]:
        told += f"; {uniform['quant']} of {uniform['bits_per_weight']:.2f} bits: {uniform['kl']:.4f}"
    say(f"  {line['name']}: {told}")


def opened(source: Path, calibration: Calibration) -> Trial:
    """Of a float file, on the rows that `calibrate` held out."""
    import numpy as np

    rows = list(_first(calibration.part("held_out")))
    ids, log_probs = list[Any](), list[Any]()
    for before in _read(source, rows):
        order = shift.likeliest(before)
        ids.append(order.astype(np.int32))
        log_probs.append(np.take_along_axis(before, order, axis=1))
    return Trial(rows, np.concatenate(ids), np.concatenate(log_probs))


def _first(rows: Iterator[Row]) -> Iterator[Row]:
    count = 0
    for ids, begin in rows:
        if count >= _POSITIONS:
            return
        count += len(ids) - max(begin, 1)
        yield ids, begin


def _read(file: Path, rows: Sequence[Row]) -> Iterator[Any]:
    """(answer tokens, V) float32 log probabilities of each row: position t foretells token t + 1."""
    with open_file(file, "gguf", context=max(len(ids) for ids, _ in rows)) as engine:
        for ids, begin in rows:
            yield engine.next_log_probs(ids)[max(begin, 1) - 1 : -1]
