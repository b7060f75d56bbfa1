"""What a recipe lists under `package.quants`: a type of llama.cpp's by name, or a mix made to measure.

quants: [F16, Q8_0, Q4_K_M, {quant: Q4_K_M, head: Q8_0}, {quant: Q4_0, imatrix: false}, {fit: 42MiB}, {bits: 4.2}]
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from edgedistill import mix
from edgedistill.quantization import QUANTS, TYPES, Dimensions, expected_types, is_quantized, role, rows_last
from edgedistill.sections import Section

_SIZE = re.compile(r"^(\d+(?:\.\d+)?) ?(KiB|MiB|GiB)$")
_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class QuantEntry(Section):
    """One GGUF candidate."""

    quant: str | None = None
    """As llama.cpp names it, e.g. Q4_K_M."""
    fit: str | None = None
    """In place of `quant`: the largest file, e.g. 42MiB. Each tensor gets the type that its sensitivity asks for."""
    bits: Annotated[float, Field(ge=1, le=16)] | None = None
    """In place of `quant`: bits per weight over all tensors, chosen like that."""
    head: str | None = None
    """Type of the head, e.g. Q8_0; where the embedding is the head too, of both. None: llama.cpp's choice."""
    embedding: str | None = None
    """Type of an embedding that is not the head."""
    imatrix: bool = True
    """Weigh the columns by the importance matrix of the calibration rows."""

    @field_validator("quant")
    @classmethod
    def _quant_is_known(cls, quant: str | None) -> str | None:
        if quant is not None and quant not in QUANTS:
            raise ValueError(f"no quantization named {quant}; there are: {', '.join(QUANTS)}")
        return quant

    @field_validator("head", "embedding")
    @classmethod
    def _type_is_known(cls, kind: str | None) -> str | None:
        if kind is not None and kind not in TYPES:
            raise ValueError(f"no type named {kind}; there are: {', '.join(TYPES)}")
        return kind

    @field_validator("fit")
    @classmethod
    def _fit_is_a_size(cls, fit: str | None) -> str | None:
        if fit is not None and not _SIZE.match(fit):
            raise ValueError(f"`{fit}` is no size; write it as 42MiB (KiB, MiB or GiB)")
        return fit

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if sum(given is not None for given in (self.quant, self.fit, self.bits)) != 1:
            raise ValueError("give one of `quant`, `fit` and `bits`")
        if self.is_float and (self.head or self.embedding):
            raise ValueError(f"{self.quant} leaves every tensor as it is, also `head` and `embedding`")
        if self.quant and not self.imatrix and self.quant.startswith(("IQ2", "IQ3_XXS", "IQ3_XS", "Q2_K_S")):
            raise ValueError(f"{self.quant} cannot be made without an importance matrix")
        return self

    @property
    def name(self) -> str:
        """What the candidate is called: in reports, and in small letters in its file's name."""
        base = self.quant or (f"MIX_{self.fit}" if self.fit else f"MIX_{self.bits:g}bit").replace(" ", "")
        choices = {"head": self.head, "embedding": self.embedding}
        parts = [base, *(f"{what}-{kind}" for what, kind in choices.items() if kind)]
        is_plain = not self.imatrix and self._can_be_weighed
        return "-".join([*parts, *(["plain"] if is_plain else [])])

    @property
    def is_mix(self) -> bool:
        return self.quant is None

    @property
    def is_float(self) -> bool:
        return self.quant in ("F16", "BF16")

    @property
    def is_weighed(self) -> bool:
        """Whether an importance matrix changes the file."""
        return self.imatrix and self._can_be_weighed

    @property
    def _can_be_weighed(self) -> bool:
        """Floats and Q8_0 are made without an importance matrix."""
        has_choice = self.head is not None or self.embedding is not None
        return has_choice or self.quant not in ("F16", "BF16", "Q8_0")

    @property
    def most_bytes(self) -> int | None:
        """Of the file, where the entry limits it."""
        found = _SIZE.match(self.fit) if self.fit else None
        return int(float(found[1]) * _BYTES[found[2]]) if found else None

    def types(self, tensors: Mapping[str, Dimensions], *, has_importance: bool) -> dict[str, str]:
        """The type of each tensor, for an entry that names a quant."""
        assert self.quant
        found = expected_types(tensors, self.quant, has_importance=has_importance and self.is_weighed)
        return {**found, **self.chosen(tensors)}

    def chosen(self, tensors: Mapping[str, Dimensions]) -> dict[str, str]:
        """The types that `head` and `embedding` set, in place of llama.cpp's own choice."""
        is_tied = _is_tied(tensors)
        found = {}
        for name in tensors:
            is_head = role(name) == ("embedding" if is_tied else "output")
            kind = self.head if is_head else self.embedding if role(name) == "embedding" else None
            if kind:
                found[name] = kind
        return found

    def problems(self, tensors: Mapping[str, Dimensions]) -> list[str]:
        """Why this cannot be made of a model with these tensors, named as in GGUF or by Hugging Face: a type that was
        chosen does not suit the rows, or even the lowest types are larger than `fit` or `bits` allows."""
        tensors = rows_last(tensors)
        chosen = self.chosen(tensors)
        found = [self._misfit(kind, tensors[name][-1]) for name, kind in chosen.items()]
        if self.embedding and _is_tied(tensors):
            found.append(f"embedding: {self.embedding} sets nothing, since the embedding is the head; set `head`")
        if self.is_mix and not any(found):
            found.append(self._too_small(tensors, chosen))
        return [problem for problem in found if problem]

    def _misfit(self, kind: str, row: int) -> str:
        """Why a chosen type cannot be that of a matrix with rows of so many elements; empty where it can."""
        if row % TYPES[kind].block:
            return f"{kind} takes rows of a multiple of {TYPES[kind].block}, and these have {row}"
        if self.is_mix and kind not in mix.ladder(row):
            return f"{kind} is no type of a mix; rows of {row} may have {', '.join(mix.ladder(row))}"
        return ""

    def _too_small(self, tensors: Mapping[str, Dimensions], chosen: Mapping[str, str]) -> str:
        # What is neither matrix nor vector in a Hugging Face file may be a buffer that is not exported.
        tensors = {name: d for name, d in tensors.items() if len(d) == 1 or is_quantized(name, d)}
        least = mix.least_bytes(tensors, chosen)
        if self.most_bytes is not None and least > self.most_bytes:
            return f"the weights take {least:,} bytes in their lowest types, and the file may have {self.most_bytes:,}"
        lowest = 8 * least / sum(math.prod(dimensions) for dimensions in tensors.values())
        if self.bits is not None and lowest > self.bits:
            return f"the lowest types take {lowest:.2f} bits per weight"
        return ""


def _is_tied(tensors: Mapping[str, Dimensions]) -> bool:
    return not any(role(name) == "output" for name in tensors)


def entry(given: Any) -> Any:
    """`Q4_K_M` stands for `{quant: Q4_K_M}`."""
    return {"quant": given} if isinstance(given, str) else given
