"""Known families of models, for tables that name a model and not its shape (families.csv).

Each line is the family's config.json on the Hugging Face hub: vocabulary, width, whether the embedding is the head too,
layers, width of keys. `active_b`, for mixtures of experts and per-layer embeddings: billions of weights that one token
takes part in, as the model's card states it. `tied_m`: millions of weights of a tied model, its embedding counted once.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Family:
    """Shape of a model, where its name is known."""

    pattern: str
    vocabulary: int
    width: int
    tied: bool
    layers: int
    kv_width: int
    active_b: float | None
    tied_m: float | None = None

    def is_stored_twice(self, parameters: float) -> bool:
        """Whether a file with so many weights holds a tied embedding once as input and once as head."""
        return self.tied_m is not None and parameters > self.tied_m * 1e6 + 0.8 * self.embedding

    @property
    def embedding(self) -> int:
        """Weights of the input embedding; the head has as many."""
        return self.vocabulary * self.width


def of_model(name: str) -> Family | None:
    """The first family that the name fits."""
    return next((family for family in _table() if re.search(family.pattern, name.lower())), None)


def unknown(parameters: float) -> Family:
    """A guess by size: small models tie the embedding, large ones do not. Sizes of Llama 3 and its contemporaries."""
    width = 4096 if parameters < 10e9 else 5120
    return Family("", 128_000 if parameters > 4.5e9 else 0, width, parameters <= 4.5e9, 28, 1024, None)


@cache
def _table() -> tuple[Family, ...]:
    with (Path(__file__).parent / "families.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Family(
                row["pattern"],
                int(row["vocabulary"]),
                int(row["width"]),
                row["tied"] == "1",
                int(row["layers"]),
                int(row["kv_width"]),
                float(row["active_b"]) if row["active_b"] else None,
                float(row["tied_m"]) if row["tied_m"] else None,
            )
            for row in csv.DictReader(file)
        )
