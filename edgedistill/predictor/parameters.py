"""The fitted factors: parameters.json, written by tests/bench/fit_predictor.py and read here once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgedistill.predictor import formula
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.work import Work

PATH = Path(__file__).parent / "parameters.json"

BASIS = {
    "measured, llama.cpp": "published measurements of this chip",
    "measured": "published measurements of this chip, mostly with another runtime or an older build",
    "copy rate": "the copy rate of its memory; nobody has published measurements of this chip",
    "peak rate": "the theoretical rate of its memory, so the interval is wide; nobody has published measurements of it",
}
_GUESSED = ", size guessed"
BASIS |= {name + _GUESSED: f"{text}; the file's size is guessed" for name, text in BASIS.items()}
"""What a standing means, for people. Other texts, of a calibration, speak for themselves."""


@dataclass(frozen=True)
class Speeds:
    """Of one thing that is predicted: decode or prompt."""

    factors: Mapping[str, float]
    """Name in formula.py -> fitted value."""
    half_widths: Mapping[str, float]
    """How well the chip is known -> half of the 80% interval, natural logarithm."""
    calibration_share: float
    """Of what a measured pair is off by, how much of it other models on the same device are off by too."""


@dataclass(frozen=True)
class Parameters:
    """What the fit left."""

    decode: Speeds
    prompt: Speeds
    chips: Mapping[str, Chip]
    """By every name that measurements use for it."""
    provenance: Mapping[str, Any]

    def standing(self, chip: Chip, work: Work, is_prompt: bool = False) -> str:
        """How well chip and work are known, and whether the runtime is the one that most people measure: a half width's
        key. The size of the file moves decoding only."""
        fitted, rate = (self.prompt, "prompt rate") if is_prompt else (self.decode, "read rate")
        own = f"{rate}/{chip.name}" + ("" if is_prompt and work.backend == "cpu" else f"/{work.backend}")
        size = "" if is_prompt or work.is_size_known else _GUESSED
        if own in fitted.factors:
            usual = work.backend == "cpu" and work.runtime in formula.LLAMA and work.built >= formula.OLD
            return ("measured, llama.cpp" if usual else "measured") + size
        return ("copy rate" if work.backend == "cpu" and (chip.copy_gb_s or chip.read_gb_s) else "peak rate") + size


@cache
def load() -> Parameters:
    """The shipped parameters."""
    return parse(json.loads(PATH.read_text(encoding="utf-8")))


def parse(raw: Mapping[str, Any]) -> Parameters:
    """From what the fit writes."""
    chips = {name: Chip(name=name, **facts) for name, facts in raw["chips"].items()}
    chips |= {alias: chips[name] for alias, name in raw["aliases"].items()}
    return Parameters(Speeds(**raw["decode"]), Speeds(**raw["prompt"]), chips, raw["provenance"])
