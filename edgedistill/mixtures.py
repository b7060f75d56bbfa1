"""llama.cpp's mixtures: which tensors of a quantization get another type than the rest, as one table.

A quantization such as Q4_K_M names a default type. Tensors that are known to matter more (values, the MLP's last
matrix, the head) get more bits, some only in the outer layers, or only where heads of a group share them.

Source  src/llama-quant.cpp of the pinned llama.cpp, `llama_tensor_get_type_impl`. Left out: Falcon, GLM-5, models of
        70 billion parameters, MXFP4, and the types of one bit per weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """What the rules look at: where a tensor stands, and a few facts of the model around it."""

    number: int
    """Of this tensor among the `count` of its role."""
    count: int
    shared_by: int = 1
    """Query heads per key and value head."""
    experts: int = 0
    has_importance: bool = False

    @property
    def is_outer(self) -> bool:
        """llama.cpp's `use_more_bits`: the first and the last eighth, and every third between them."""
        first = self.count // 8
        return self.number < first or self.number >= 7 * self.count // 8 or (self.number - first) % 3 == 2


Rule = Callable[[Place], str | None]
"""The type that a tensor at this place gets; None: the default one."""


def wanted(quant: str, default: str, role: str, place: Place, row: int, block: int) -> str:
    """The type that a quantization gives a tensor of this role, before its row is looked at.

    role   `output` (a tied embedding is one), `embedding`, `value`, `key`, `query`, `attention output`, `down`, `gate`,
           `up`, or empty
    row    elements in a row; block: elements per block of the default type
    """
    if role == "output":
        if row % block or default == "Q8_0":
            return "Q8_0"
        return "Q5_K" if quant in (*_TWO_BITS, "IQ3_XXS") else "Q6_K"
    if place.experts == 8 and (found := _of_eight_experts(quant, default, role)):
        return found
    rule = _RULES.get(quant, {}).get(role)
    return (rule(place) if rule else None) or default


def _of_eight_experts(quant: str, default: str, role: str) -> str | None:
    """For models of the size of Mixtral, more bits cost next to nothing outside the experts."""
    if role == "key" and quant in _TWO_BITS:
        return "Q4_K"
    if role in ("value", "key") and quant not in _TWO_BITS:
        return "Q8_0"
    if role == "attention output":
        return "Q5_K" if quant in _FIVE_BITS_OF_EIGHT_EXPERTS else default
    return None


def _always(kind: str) -> Rule:
    return lambda place: kind


def _if_outer(kind: str) -> Rule:
    return lambda place: kind if place.is_outer else None


def _of_first(divisor: int, kind: str, others: str | None = None) -> Rule:
    """In the first of so many equal parts of the layers."""
    return lambda place: kind if place.number < place.count // divisor else others


def _of_first_few(few: int, kind: str, others: str | None = None) -> Rule:
    return lambda place: kind if place.number < few else others


def _of_middle(kind: str) -> Rule:
    """In neither the first nor the last eighth of the layers."""
    return lambda place: kind if place.count // 8 <= place.number < 7 * place.count // 8 else None


def _if_shared(kind: str, others: str | None = None) -> Rule:
    """Where four or more query heads share a value head: the tensor is small, and many depend on it."""
    return lambda place: kind if place.shared_by >= 4 else others


def _if_shared_or_expert(kind: str, others: str) -> Rule:
    return lambda place: kind if place.shared_by >= 4 or place.experts >= 4 else others


def _with_importance(rule: Rule) -> Rule:
    return lambda place: rule(place) if place.has_importance else None


def _without_importance(rule: Rule) -> Rule:
    return lambda place: None if place.has_importance else rule(place)


def _iq3_xxs_value(place: Place) -> str | None:
    return "Q4_K" if place.shared_by >= 4 else None if place.has_importance else "IQ3_S"


def _iq3_m_down(place: Place) -> str | None:
    return "Q4_K" if place.number < place.count // 8 or (place.experts == 8 and place.is_outer) else None


_TWO_BITS = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")

_FIVE_BITS_OF_EIGHT_EXPERTS = (
    *_TWO_BITS,
    *("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS"),
)

_IQ4: dict[str, Rule] = {"value": _if_shared("Q5_K"), "down": _without_importance(_of_first(8, "Q5_K"))}
_IQ2_SMALL: dict[str, Rule] = {
    "embedding": _always("Q2_K"),
    "value": _if_shared_or_expert("Q4_K", "Q2_K"),
    "down": _of_first(8, "Q2_K"),
}
_IQ2_LARGE: dict[str, Rule] = {
    "embedding": _always("IQ3_S"),
    "value": _if_shared_or_expert("Q4_K", "IQ3_S"),
    "down": _of_first(8, "IQ3_S"),
    "attention output": _always("IQ3_S"),
}

_RULES: dict[str, dict[str, Rule]] = {
    "Q5_K_M": {"value": _if_outer("Q6_K"), "down": _if_outer("Q6_K")},
    "Q4_K_M": {"value": _if_outer("Q6_K"), "down": _if_outer("Q6_K")},
    "Q4_K_S": {"value": _of_first_few(4, "Q5_K"), "down": _of_first(8, "Q5_K")},
    "Q5_0": {"down": _with_importance(_of_first(8, "Q5_1"))},
    "Q4_0": {"down": _with_importance(_of_first(8, "Q4_1"))},
    "IQ4_NL": _IQ4,
    "IQ4_XS": _IQ4,
    "Q3_K_L": {"value": _always("Q5_K"), "down": _always("Q5_K"), "attention output": _always("Q5_K")},
    "Q3_K_M": {
        "value": _of_first_few(2, "Q5_K", "Q4_K"),
        "down": _of_first(16, "Q5_K", "Q4_K"),
        "attention output": _always("Q4_K"),
    },
    "IQ3_M": {"value": _always("Q4_K"), "down": _iq3_m_down, "attention output": _always("Q4_K")},
    "IQ3_S": {"value": _if_shared("Q4_K")},
    "IQ3_XS": {
        "value": _if_shared("Q4_K"),
        "key": _always("IQ3_XXS"),
        "query": _always("IQ3_XXS"),
        "gate": _of_middle("IQ3_XXS"),
        "up": _of_middle("IQ3_XXS"),
    },
    "IQ3_XXS": {
        "embedding": _always("IQ3_S"),
        "value": _iq3_xxs_value,
        "key": _always("IQ2_S"),
        "query": _always("IQ2_S"),
        "down": _without_importance(_of_first(8, "Q4_K", "Q3_K")),
        "attention output": _always("IQ3_S"),
    },
    "Q2_K": {"value": _if_shared("Q4_K", "Q3_K"), "down": _always("Q3_K"), "attention output": _always("Q3_K")},
    "Q2_K_S": {"value": _if_shared("Q4_K"), "down": _of_first(8, "Q4_K")},
    "IQ2_XXS": _IQ2_SMALL,
    "IQ2_XS": _IQ2_SMALL,
    "IQ2_S": _IQ2_LARGE,
    "IQ2_M": _IQ2_LARGE,
}
"""Quantization -> role -> rule."""
