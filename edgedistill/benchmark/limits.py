"""What a device is held to: the limits that the bundle was validated with, by the rules of parity.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedistill import golden, parity
from edgedistill.bundle_manifest import Manifest
from edgedistill.golden import GoldenCase
from edgedistill.parity import Parity, Replaying
from edgedistill.sections import ValidateConfig


@dataclass(frozen=True)
class Limits:
    """See `parity.check` and `parity.check_answers`."""

    kind: str
    """The coarsest type in the file."""
    first_token_kl: float
    answer_kl: float
    max_tokens: int


def of(manifest: Manifest) -> Limits:
    """A bundle's. What an older one does not say is as `validate` takes it by itself."""
    known, usual = manifest.conditions, ValidateConfig()
    return Limits(
        kind=parity.coarsest(manifest.chosen["tensor_types"]),
        first_token_kl=float(known.get("first_token_kl_max", usual.first_token_kl_max)),
        answer_kl=float(known.get("answer_kl_max", usual.answer_kl_max)),
        max_tokens=int(known.get("max_tokens", usual.max_tokens)),
    )


def check(cases: Sequence[GoldenCase], runtime: Replaying, limits: Limits) -> Parity:
    """Prompts, first tokens and answers; then every position of the answers, where the cases tell what the float
    student held likely there. Where they do not, `answer_kl_mean` stays None.
    """
    found = parity.check(cases, runtime, limits.kind, limits.first_token_kl, limits.max_tokens)
    before = golden.along(cases)
    if before is None or not found.has_same_ids:
        return found
    return parity.check_answers(found, before, runtime, limits.kind, limits.answer_kl)
