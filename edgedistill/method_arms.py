"""The arms of `edgedistill methods`: what each trains with, on how many rows to begin with, and held against what."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from edgedistill import components
from edgedistill.errors import UsageError
from edgedistill.recipe import Recipe
from edgedistill.sections import DistillConfig, PreferConfig

SEVERAL = "several-teachers"
"""This arm learns from the recipe's teacher and, where `methods.options` names no other, from the aligned one."""

TRAINED_WITH: dict[str, list[dict[str, Any]]] = {
    "sft": [{"method": "sft"}],
    "seqkd": [{"method": "seqkd"}],
    "topk_kd": [{"method": "topk_kd"}],
    "on_policy": [{"method": "on_policy"}],
    "dpo": [{"method": "dpo"}],
    "pad-vpd": [{"method": "pad", "loss": "vpd"}],
    "pad-ppd": [{"method": "pad", "loss": "ppd"}],
    "sft+pad": [{"method": "sft"}, {"method": "pad", "loss": "ppd"}],
    SEVERAL: [{"method": "seqkd"}],
}
"""Arm -> the methods that train it one after the other."""

HELD_AGAINST: dict[str, tuple[str, ...]] = {
    "pad-vpd": ("dpo",),
    "pad-ppd": ("dpo", "pad-vpd"),
    "sft+pad": ("dpo",),
    SEVERAL: ("seqkd",),
}
"""Arm -> the arms that it is to be better than, beside the first one of its table."""

PAIRED_WITH: dict[str, dict[str, str]] = {
    "plain": {"ties": "drop", "strength": "ignore"},
    "equal": {"ties": "equal", "strength": "ignore"},
    "margin": {"ties": "drop", "strength": "margin"},
    "smooth": {"ties": "drop", "strength": "smooth"},
    "drop": {"ties": "drop", "strength": "drop"},
}
"""Arm -> fields of `prefer`."""

_PREFERENCE_RATE = 0.1
"""Of the recipe's learning rate, for methods that learn from preferences: their losses reward going far."""
_ATTEMPTS = 4
"""Of a teacher at an answer that passes the check which the rows passed."""
_LEARNS_PREFERENCES = ("dpo", "pad")
_TAKEN_OVER = ("epochs", "learning_rate", "batch", "device_batch", "lora_rank", "max_tokens", "warmup")
"""What an arm takes over from the first method of the recipe's `distill`, where its method has it."""


@dataclass(frozen=True)
class Training:
    """One step of an arm."""

    config: DistillConfig
    rows: int
    """Per task, to begin with."""


def trainings(recipe: Recipe, arm: str) -> list[Training]:
    """The steps of a training arm. Raises UsageError for options that its methods do not have, or that make it the arm
    that it is."""
    known = {
        name
        for fields in TRAINED_WITH[arm]
        for name in components.load("methods", fields["method"]).Config.model_fields
    }
    options = recipe.methods.options.get(arm, {})
    if fixed := sorted(options.keys() & {name for fields in TRAINED_WITH[arm] for name in fields}):
        raise UsageError(
            f"methods.options: `{fixed[0]}` makes arm `{arm}` what it is, and cannot be set",
            f"choose among the arms in `methods.methods`; there are: {', '.join(TRAINED_WITH)}",
        )
    if unknown := sorted(options.keys() - known):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(sorted(known))}"
        raise UsageError(f"methods.options: arm `{arm}` has no option `{unknown[0]}`", meant)
    steps = [_config(recipe, arm, fields) for fields in TRAINED_WITH[arm]]
    return [Training(config, _rows(recipe, config, len(steps))) for config in steps]


def has_teachers(recipe: Recipe) -> bool:
    """Whether the options name others for the arm of several teachers."""
    return bool(recipe.methods.options.get(SEVERAL, {}).get("teachers"))


def tuned_on_groups(recipe: Recipe) -> DistillConfig:
    """How the student is tuned on a few drafts: plain fine-tuning, one step per pass."""
    size, epochs = recipe.methods.group_size, recipe.methods.group_epochs
    fields = {"method": "sft", "epochs": epochs, "batch": size, "device_batch": None, "warmup": 0.0}
    return _config(recipe, "", fields)


def signal_config(recipe: Recipe, signal: str) -> PreferConfig:
    """`prefer` with another signal: all that signals share, and pairs of any gap, since their scores' scales differ."""
    assert recipe.prefer is not None
    module = components.load("signals", signal)
    known = set(module.Config.model_fields)
    given = {name: getattr(recipe.prefer, name) for name in type(recipe.prefer).model_fields if name in known}
    rate = getattr(recipe.distill[0], "learning_rate", None)
    own = {"learning_rate": rate} if rate and "learning_rate" in known - set(given) else {}
    config: PreferConfig = module.Config(**{**given, **own, **PAIRED_WITH["plain"], "signal": signal, "min_gap": 0.0})
    return config


def pair_config(recipe: Recipe, arm: str) -> PreferConfig:
    """The recipe's own `prefer` with another way of pairing."""
    assert recipe.prefer is not None
    return recipe.prefer.model_copy(update=PAIRED_WITH[arm])


def _config(recipe: Recipe, arm: str, fields: dict[str, Any]) -> DistillConfig:
    """An arm's options: the recipe's where the method has them, then the arm's own, then `methods.options`."""
    module = components.load("methods", fields["method"])
    known = set(module.Config.model_fields)
    base = recipe.distill[0]
    given = {name: getattr(base, name) for name in _TAKEN_OVER if name in known & base.model_fields_set}
    is_another = fields["method"] in _LEARNS_PREFERENCES and base.method not in _LEARNS_PREFERENCES
    if is_another and "learning_rate" in given:
        given["learning_rate"] *= _PREFERENCE_RATE
    if fields["method"] == "seqkd":  # as good answers as the rows have
        given |= {"check_answers": recipe.tailor.check_answers, "attempts": _ATTEMPTS}
    own = {**fields, **{name: v for name, v in recipe.methods.options.get(arm, {}).items() if name in known}}
    apart = {name: value for name, value in given.items() if name not in ("batch", "device_batch")}
    try:
        sequences = module.Config(**{**apart, **own}).asks.sequences
        config: DistillConfig = module.Config(**{**apart, **_batches(given, sequences), **own})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"methods: arm `{arm}`: {told}", "correct `methods.options`, or `distill`") from None
    return config


def _batches(given: dict[str, Any], sequences: int) -> dict[str, int]:
    """As many sequences per optimizer step as the recipe has rows, where a row has several."""
    if "batch" not in given:
        return {}
    together = max(1, (given.get("device_batch") or given["batch"]) // sequences)
    return {"device_batch": together, "batch": together * max(1, given["batch"] // (sequences * together))}


def _rows(recipe: Recipe, config: DistillConfig, steps: int) -> int:
    """Rows per task with which a step reads about its share of the tokens, were all answers as long as the rows'."""
    passes = getattr(recipe.distill[0], "epochs", 1) / getattr(config, "epochs", 1)
    return max(1, round(recipe.methods.rows * passes / config.asks.sequences / steps))
