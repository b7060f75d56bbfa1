"""What alignment makes of pairs that are equal, softened, or ask for a lead; log-odds measured apart from TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Preferences
from edgedistill.engine import open_engine, user
from edgedistill.files import write_rows
from edgedistill.models import Model
from edgedistill.sections import AlignConfig
from edgedistill.stages.align import align

PLACES = ("kitchen", "living room", "cellar", "hall", "garden", "attic")

pytestmark = pytest.mark.slow


def pairs(folder: Path, **of_all: Any) -> Preferences:
    """Six pairs of one kind; `of_all` says which."""
    rows = [
        {"task": "home", "level": "rationale", "prompt": f"light in the {place}", "chosen": f"So: <ans>{place}</ans>",
         "rejected": f"{place}, I think", "margin": 0.5, **of_all}
        for place in PLACES
    ]  # fmt: skip
    return Preferences(write_rows(folder / "pairs.jsonl", rows).parent)


def moved(folder: Path, teacher: Path, *kinds: dict[str, Any], **options: Any) -> list[float]:
    """By how much training on all kinds of pairs together raised the log-odds of the pairs' chosen answers."""
    rows = [row for n, kind in enumerate(kinds) for row in map(vars, pairs(folder / str(n), **kind).pairs())]
    preferences = Preferences(write_rows(folder / "all" / "pairs.jsonl", rows).parent)
    config = AlignConfig(epochs=4, batch=6, device_batch=3, learning_rate=1e-2, **options)
    align.function(folder / "out", preferences, Model(teacher, ""), config, 0)

    def odds(path: Path) -> list[float]:
        asked = [user(row["prompt"]) for row in rows]
        with open_engine(Model(path, "")) as engine:
            sides = [engine.answer_log_probs(asked, [row[side] for row in rows]) for side in ("chosen", "rejected")]
        return [sum(a) - sum(b) for a, b in zip(*sides, strict=True)]

    before, after = odds(teacher), odds(folder / "out" / "model")
    return [b - a for a, b in zip(before, after, strict=True)]


def test_a_lead_moves_further_and_a_soft_label_less_far(tiny_llama: Path, tmp_path: Path) -> None:
    plain, margin, smooth = (
        sum(moved(tmp_path / name, tiny_llama, kind, margin_scale=4.0))
        for name, kind in (
            ("plain", {}),
            ("margin", {"strength": "margin"}),
            ("smooth", {"strength": "smooth", "doubt": 0.4}),
        )
    )
    assert margin > plain > smooth > 0


def test_equal_pairs_hold_together_what_preferred_ones_would_move_apart(tiny_llama: Path, tmp_path: Path) -> None:
    """The same texts as preferred pairs, and between: as ties they pull back with more weight than the others push."""
    free = sum(moved(tmp_path / "free", tiny_llama, {}))
    held = sum(moved(tmp_path / "held", tiny_llama, {}, {"label": "equal"}, tie_weight=100.0)[: len(PLACES)])
    assert abs(held) < free / 3
