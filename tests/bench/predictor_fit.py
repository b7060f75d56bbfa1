"""Fit the factors of edgedistill/predictor/formula.py to measured rows: maximum a posteriori, by Gauss-Newton steps.

Each row's logarithm of time is the formula's plus what its source is off by, which is the same for all rows of one
source on one chip (people, firmware, cooling), plus noise with heavy tails. Priors are the formula's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgedistill.predictor import formula
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.formula import Time
from edgedistill.predictor.work import Work


@dataclass(frozen=True)
class Measured:
    """One usable row."""

    id: str
    source: str
    chip: Chip
    work: Work
    seconds: float
    """Per token, decoded or read."""
    is_dense: bool = True
    is_deployment: bool = False
    """llama.cpp of 2025 or newer on all big cores, 4- to 8-bit weights."""

    @property
    def place(self) -> tuple[str, str, str]:
        return self.source, self.chip.name, self.work.backend


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of natural logarithms, and where the tails begin."""

    row: float
    source: dict[str, float]
    tail: float
    """In standard deviations of a row: beyond, a residual pulls less and less."""


DECODE = Spreads(0.08, {"cpu": 0.18, "gpu": 0.18, "npu": 0.3}, 0.6)
PROMPT = Spreads(0.12, {"cpu": 0.2, "gpu": 0.2, "npu": 0.3}, 0.7)
"""Chosen once by the errors of left-out sources; the floor between people with the same board is 0.16 to 0.19."""


def fit(
    rows: Sequence[Measured],
    time: Callable[[Work, Chip], Time],
    spreads: Spreads,
    start: dict[str, float] | None = None,
) -> dict[str, float]:
    """Name -> fitted factor, the offsets of sources left out."""
    system = _System(rows, time, spreads)
    theta = system.start(start or {})
    for _ in range(40):
        predicted, slope = system.logs(theta)
        off = system.wanted - predicted
        weight = 1 / np.sqrt(1 + (off / spreads.row / spreads.tail) ** 2) / spreads.row**2
        pull = (theta - system.prior) / system.spread**2
        step = np.linalg.solve(
            slope.T @ (slope * weight[:, None]) + np.diag(system.spread**-2.0), slope.T @ (weight * off) - pull
        )
        largest = float(np.abs(step).max())
        theta = theta + step * min(1.0, 0.5 / largest)
        if largest < 1e-3:
            break
    named = {name: float(np.exp(theta[at])) for name, at in system.names.items()}
    return {name: value for name, value in named.items() if not name.startswith("source ")}


class _System:
    """Everything as matrices. Shapes: N rows, K factors, 4 terms."""

    def __init__(self, rows: Sequence[Measured], time: Callable[[Work, Chip], Time], spreads: Spreads) -> None:
        self.names: dict[str, int] = {}
        self._priors: list[float] = []
        self._spreads: list[float] = []
        self.wanted = np.log([row.seconds for row in rows])  # (N,)
        parts = [self._terms(time(row.work, row.chip)) for row in rows]
        own = [self._index(f"source {row.place}", 1.0, spreads.source[row.work.backend]) for row in rows]
        shape = (len(rows), len(self.names))
        self.design = [np.zeros(shape) for _ in range(4)]  # each (N, K)
        self.constant = np.full((4, len(rows)), -np.inf)
        self.offset = np.zeros(shape)
        self.offset[np.arange(len(rows)), own] = 1
        for row, terms in enumerate(parts):
            for place, constant, powers in terms:
                self.constant[place, row] = constant
                for index, power in powers:
                    self.design[place][row, index] += power
        self.prior, self.spread = np.array(self._priors), np.array(self._spreads)  # (K,)

    def start(self, known: dict[str, float]) -> np.ndarray:
        """(K,) logarithms: an earlier fit's where it has the factor, else priors."""
        return np.array([math.log(known[n]) if n in known else self._priors[at] for n, at in self.names.items()])

    def logs(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithm of each row's time (N,), and its slope by each factor's logarithm (N, K)."""
        values = [d @ theta + c for d, c in zip(self.design, self.constant, strict=True)]
        roof = np.logaddexp(formula.P * values[0], formula.P * values[1]) / formula.P
        total = np.logaddexp(np.logaddexp(roof, values[2]), values[3])
        shares = [np.exp(formula.P * (v - roof)) * np.exp(roof - total) for v in values[:2]]
        shares += [np.exp(v - total) for v in values[2:]]
        slope = sum(share[:, None] * d for share, d in zip(shares, self.design, strict=True))
        return total + self.offset @ theta, slope + self.offset

    def _terms(self, time: Time) -> list[tuple[int, float, list[tuple[int, float]]]]:
        found = []
        for place, term in [*enumerate(time.roof), *enumerate(time.rest, start=2)]:
            fixed = sum(p * math.log(f.prior) for f, p in term.powers if not f.spread)
            powers = [(self._index(f.name, f.prior, f.spread), p) for f, p in term.powers if f.spread]
            found.append((place, math.log(term.size) + fixed, powers))
        return found

    def _index(self, name: str, prior: float, spread: float) -> int:
        if name not in self.names:
            self.names[name] = len(self.names)
            self._priors.append(math.log(prior))
            self._spreads.append(spread)
        return self.names[name]
