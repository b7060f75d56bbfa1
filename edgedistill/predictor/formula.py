"""Seconds as a sum of few terms. Each term is a product: a size, and named factors that are fitted or assumed.

    decode, s per token    ((bytes / read rate)^P + (weights x cost[quant] / compute rate)^P)^(1/P)
                           + cache bytes x KV factor / read rate + overhead
    prompt, s per token    (weights x cost[quant] + attention) / compute rate

    read rate       share x one thread's copy rate (or x the memory's peak) x the chip's own factor
    compute rate    clock x vector instructions per cycle x threads^a x rate[instructions] x the chip's own factor

A factor that no measurement speaks of keeps its prior, so a chip without rows is predicted from its facts: this is the
partial pooling. Weak prior = large spread (standard deviation of the natural logarithm).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgedistill.predictor import quants
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.work import Work

P = 2.0
"""How sharply the slower of reading and computing decides: 1 adds them, infinity takes the longer."""

LLAMA = ("llama.cpp", "ollama")
"""Runtimes with llama.cpp's own kernels."""
OLD = 2025.0
"""Builds before count as old: about 30% slower (tests/bench/fit_predictor.py)."""
_BLUNT = ("neon", "armv7", "sse")
"""Instructions without integer products: there all quantizations cost nearly the same."""
_PROMPT_RATE = {"armv7": 0.5, "sse": 0.6, "neon": 1.0, "avx2": 1.7, "avx512": 2.3, "dotprod": 2.7, "i8mm": 4.0}
_DECODE_RATE = {"armv7": 0.3, "sse": 1.0, "neon": 1.3, "avx2": 1.0, "avx512": 1.5, "dotprod": 1.6, "i8mm": 2.0}
"""Prior rates relative to each other: products of bytes per vector instruction, and what unpacking leaves of them."""


@dataclass(frozen=True)
class Factor:
    """A number with a name: its prior and the spread around it."""

    name: str
    prior: float
    spread: float


@dataclass(frozen=True)
class Term:
    """size x product of factor^power; seconds."""

    size: float
    powers: tuple[tuple[Factor, float], ...]

    def times(self, size: float, *more: tuple[Factor, float]) -> Term:
        return replace(self, size=size, powers=(*self.powers, *more))

    def value(self, fitted: Mapping[str, float]) -> float:
        """Seconds, with the fitted factors where there are such."""
        found = math.log(self.size)
        return math.exp(found + sum(p * math.log(fitted.get(f.name, f.prior)) for f, p in self.powers))


@dataclass(frozen=True)
class Time:
    """`roof` are terms that overlap (P-norm), `rest` are added."""

    roof: tuple[Term, ...]
    rest: tuple[Term, ...]

    def seconds(self, fitted: Mapping[str, float]) -> float:
        roof: float = sum(term.value(fitted) ** P for term in self.roof) ** (1 / P)
        return roof + sum(term.value(fitted) for term in self.rest)

    def share_of_rest(self, fitted: Mapping[str, float]) -> float:
        """Of the time, what the last term takes: the overhead of a decoded token, the attention of a prompt's."""
        return self.rest[-1].value(fitted) / self.seconds(fitted)


def decode(work: Work, chip: Chip) -> Time:
    """Time of one decoded token."""
    overhead = Term(1e-3, ((Factor(f"overhead ms/{work.backend}", _OVERHEAD_MS[work.backend], 0.7), 1),))
    read = Term(1.0, _read_rate(work, chip))
    cache = read.times(max(work.cache_bytes_per_token * work.context, 1.0) / 1e9, (Factor("KV factor", 2.5, 0.3), 1))
    roof = [read.times(work.read_bytes / 1e9, *_runtime(work), *_surplus(work.threads, chip))]
    if work.backend == "cpu":
        roof.append(_compute(work, chip))
    else:
        roof[0] = roof[0].times(roof[0].size, (Factor(f"read cost/{work.quant}/{work.backend}", 1.0, 0.15), 1))
    return Time(tuple(roof), (cache, overhead))


def prompt(work: Work, chip: Chip) -> Time:
    """Time of one token of a prompt."""
    threads = work.prompt_threads or work.threads or chip.cores
    if work.backend == "cpu":
        rate = [
            (Factor("prompt rate", 3.0, 0.7), -1.0),
            (Factor(f"prompt rate/{chip.isa}", _PROMPT_RATE.get(chip.isa, 1.0), 0.3), -1.0),
            (Factor(f"prompt rate/{chip.name}", 1.0, 0.5), -1.0),
            *_threads(threads, chip, "prompt ", 0.9),
            *_prompt_runtime(work),
        ]
        scale, kernel = 1 / (chip.ghz * chip.lanes), _kernel(work, chip)
    else:
        # Nothing published tells an accelerator's rate better than its memory's peak: makers scale both alike.
        rate = [
            (Factor(f"prompt rate/{work.backend}", 8.0, 0.5), -1.0),
            (Factor(f"prompt rate/{chip.name}/{work.backend}", 1.0, 0.3), -1.0),
            *_runtime(work, "prompt "),
        ]
        scale, kernel = 1 / (chip.peak_gb_s or 1.0), [(Factor(f"cost/{work.quant}/{work.backend}", 1.0, 0.2), 1.0)]
    # Scores and their products: 2 x layers x width per earlier token, of which there are half a prompt on average.
    attention = math.sqrt(work.body_weights * work.layers / 12) * work.prompt_tokens
    weights = Term(2 * work.body_weights / 1e9 * scale, (*rate, *kernel))
    return Time((weights,), (Term(2 * attention / 1e9 * scale, (*rate, (Factor("attention cost", 2.0, 0.5), 1.0))),))


_OVERHEAD_MS = {"cpu": 1.5, "gpu": 4.0, "npu": 4.0}

_Powers = list[tuple[Factor, float]]


def _read_rate(work: Work, chip: Chip) -> tuple[tuple[Factor, float], ...]:
    """Its factors; what is known of the memory enters as a factor without spread."""
    if work.backend != "cpu":
        share, own = Factor(f"read share/{work.backend}", 0.7, 0.3), 0.15
        known = chip.peak_gb_s
    elif chip.read_gb_s:
        return ((Factor("measured read rate", chip.read_gb_s, 0.0), -1.0),)
    elif chip.copy_gb_s:
        share, own, known = Factor("read share/copy", 1.57, 0.1), 0.15, chip.copy_gb_s
    else:
        share, own, known = Factor(f"read share/{chip.kind}", 0.45, 0.35), 0.5, chip.peak_gb_s
    return (
        (Factor(f"known rate/{known}", known or 1.0, 0.0), -1.0),
        (share, -1.0),
        (Factor(f"read rate/{chip.name}/{work.backend}", 1.0, own), -1.0),
    )


def _compute(work: Work, chip: Chip) -> Term:
    """Unpacking and multiplying of one decoded token."""
    powers = [
        (Factor(f"rate/{chip.isa}", _DECODE_RATE.get(chip.isa, 1.0), 0.4), -1.0),
        (Factor(f"rate/{chip.name}", 1.0, 0.45), -1.0),
        *_unpacking(work, chip),
        *_threads(work.threads or chip.cores, chip, "", 0.85),
        *_runtime(work),
    ]
    if work.runtime in LLAMA and work.built < OLD:
        powers += [(Factor("old build", 1.5, 0.3), 1.0), (Factor(f"old build/{work.quant}", 1.0, 0.3), 1.0)]
    if work.runtime == "ik_llama.cpp":
        powers += [(Factor("ik_llama.cpp", 0.75, 0.3), 1.0), (Factor(f"ik_llama.cpp/{work.quant}", 1.0, 0.2), 1.0)]
    return Term(work.read_weights / 1e9 / chip.ghz / chip.lanes, tuple(powers))


def _unpacking(work: Work, chip: Chip) -> _Powers:
    """Cost of one weight of a quantization."""
    if chip.isa in _BLUNT:
        return [(Factor(f"plain cost/{work.quant}", 1.0, 0.12), 1.0)]
    return [(Factor(f"cost/{work.quant}", 1.0, 0.5), 1.0), (Factor(f"cost/{work.quant}/{chip.isa}", 1.0, 0.2), 1.0)]


def _threads(threads: int, chip: Chip, what: str, power: float) -> _Powers:
    """threads^a up to the big cores. The power is fitted as the logarithm of a factor, so it may be written as one."""
    used = math.log(min(threads, chip.cores))
    return [(Factor(f"{what}thread power, e^", math.exp(power), 0.1), -used), *_surplus(threads, chip, what)]


def _surplus(threads: int | None, chip: Chip, what: str = "") -> _Powers:
    """Threads beyond the big cores wait for each other."""
    return [(Factor(f"{what}surplus threads", 1.2, 0.15), 1.0)] if (threads or 0) > chip.cores else []


def _runtime(work: Work, what: str = "") -> _Powers:
    """Other runtimes by one factor on everything."""
    if work.runtime in ("llama.cpp", "ik_llama.cpp"):
        return []
    spread = 0.1 if work.runtime == "ollama" else 0.3
    where = "" if work.backend == "cpu" else f"/{work.backend}"
    return [(Factor(f"{what}runtime/{work.runtime}{where}", 1.0, spread), 1.0)]


def _prompt_runtime(work: Work) -> _Powers:
    found = _runtime(work, "prompt ")
    if work.built < OLD and work.runtime in (*LLAMA, "llamafile"):
        found.append((Factor("prompt old build", 1.3, 0.2), 1.0))
    if work.prompt_tokens <= 64:
        found.append((Factor("prompt is short", 1.1, 0.2), 1.0))
    return found


def _kernel(work: Work, chip: Chip) -> _Powers:
    """Cost of the matrix kernel that a quantization gets on these instructions."""
    dear = 1.4 if work.quant in ("IQ2", "IQ3") else 1.0
    if work.runtime == "ik_llama.cpp":
        return [(Factor(f"ik/{chip.isa}", 0.5, 0.4), 1.0), (Factor(f"ik/{work.quant}", 1.0, 0.2), 1.0)]
    if chip.isa in _BLUNT:
        return [(Factor(f"plain cost/{work.quant}", dear, 0.12), 1.0)]
    found: _Powers = [
        (Factor(f"cost/{work.quant}", dear, 0.25), 1.0),
        (Factor(f"cost/{work.quant}/{chip.isa}", 1.0, 0.2), 1.0),
    ]
    is_rearranged = work.is_rearranged
    if is_rearranged is None:
        is_rearranged = work.runtime in LLAMA and quants.is_rearranged(work.quant, chip.isa, work.built)
    if is_rearranged:
        found += [(Factor("rearranged", 1.8, 0.3), -1.0), (Factor(f"rearranged/{chip.isa}", 1.0, 0.3), -1.0)]
    return found
