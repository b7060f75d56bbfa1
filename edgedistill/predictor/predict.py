"""Decode speed, prompt speed and first token, each with an 80% interval; or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgedistill.predictor import estimate, formula, parameters
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.estimate import Estimate
from edgedistill.predictor.formula import Time
from edgedistill.predictor.own_board import Pair
from edgedistill.predictor.parameters import Parameters, Speeds
from edgedistill.predictor.work import Work

_OVERHEAD_SPREAD = 0.9
"""Half of the 80% interval of a token's fixed cost, natural logarithm: published models are too large to show it."""


@dataclass(frozen=True)
class Speed:
    """None where it is declined; `reason` says why."""

    decode_tok_s: Estimate | None
    prefill_tok_s: Estimate | None
    first_token_ms: Estimate | None
    naive_decode_tok_s: float | None = None
    """What one read rate per chip would say: rate / bytes."""
    basis: str = ""
    """How well the chip is known."""
    reason: str = ""


def speed(work: Work, chip: Chip | None, pair: Pair | None = None, given: Parameters | None = None) -> Speed:
    """Predict one piece of work on a chip.

    pair    measured on the user's own device: moves the value and narrows the interval of the backend that it is of
    given   other parameters than the shipped ones; the fit's own evaluation passes them
    """
    known = given or parameters.load()
    if chip is None:
        return declined("the device states neither cores nor memory rates, and nobody has published measurements of it")
    if work.backend not in ("cpu", "gpu", "npu"):
        return declined(f"no backend named `{work.backend}`; there are: cpu, gpu, npu")
    if not chip.peak_gb_s and (work.backend != "cpu" or not (chip.copy_gb_s or chip.read_gb_s)):
        return declined(f"nothing is known of the memory that the {work.backend} of {chip.name} reads")
    basis, prompt_basis = known.standing(chip, work), known.standing(chip, work, is_prompt=True)
    decode, read = formula.decode(work, chip), formula.prompt(work, chip)
    step, token = _seconds(decode, known.decode, basis), _seconds(read, known.prompt, prompt_basis)
    if pair and pair.work.backend == work.backend:
        theirs = formula.decode(pair.work, chip), formula.prompt(pair.work, chip)
        step = _calibrated(step, pair.decode_tok_s, decode, theirs[0], known.decode, basis)
        token = _calibrated(token, pair.prefill_tok_s, read, theirs[1], known.prompt, prompt_basis)
        basis = f"calibrated, {pair.measured}"
    prompt = Estimate(*(work.prompt_tokens * end for end in (token.value, token.low, token.high)))
    first = prompt + step
    return Speed(
        decode_tok_s=estimate.rate(1, step),
        prefill_tok_s=estimate.rate(1, token),
        first_token_ms=Estimate(1000 * first.value, 1000 * first.low, 1000 * first.high),
        naive_decode_tok_s=naive(work, chip, known),
        basis=basis,
    )


def declined(reason: str) -> Speed:
    """No number, and why."""
    return Speed(None, None, None, reason=reason)


def naive(work: Work, chip: Chip, known: Parameters) -> float | None:
    """One read rate per chip over the bytes, as everybody reckons; None for a chip without measurements."""
    rate = known.provenance.get("naive_gb_s", {}).get(f"{chip.name}/{work.backend}")
    return float(rate) * 1e9 / work.read_bytes if rate else None


def _seconds(time: Time, speeds: Speeds, standing: str) -> Estimate:
    value = time.seconds(speeds.factors)
    half = speeds.half_widths[standing]
    if len(time.roof) > 1 or len(time.rest) > 1:  # a decoded token: its last term is the overhead
        half = math.hypot(half, _OVERHEAD_SPREAD * time.share_of_rest(speeds.factors))
    return estimate.within(value, half)


def _calibrated(
    found: Estimate, measured_per_s: float | None, own: Time, measured: Time, speeds: Speeds, standing: str
) -> Estimate:
    """Moved by what the measured work was off by. Chip, source and firmware are then the user's own.

    A model of a few megabytes measures the overhead and a large one the memory: as far as the two take different
    shares of it, neither tells about the other.
    """
    if not measured_per_s:
        return found
    off = math.log(1 / measured_per_s / measured.seconds(speeds.factors))
    alike = 1 - abs(own.share_of_rest(speeds.factors) - measured.share_of_rest(speeds.factors))
    half = alike * speeds.half_widths[f"{standing}, calibrated"] + (1 - alike) * math.log(found.high / found.value)
    return estimate.within(found.value * math.exp(alike * speeds.calibration_share * off), half)
