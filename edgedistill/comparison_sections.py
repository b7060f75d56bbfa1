"""The recipe's sections of the commands that compare: `arms` and `methods`."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from edgedistill import components
from edgedistill.sections import NotIdentity, Section


def _no_entry_twice(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(entries)) < len(entries):
        raise ValueError(f"{', '.join(map(str, entries))}: one of them is given twice")
    return entries


ArmName = Literal["none", "original", "one-style", "rationale-only", "question-only", "arte"]


class ArmsConfig(Section):
    """The same student trained on other data, several times over, to see what alignment adds (`edgedistill arms`).

    Fields that are NotIdentity say which arms are run how often; they are no part of what one arm's answers are.
    """

    seeds: Annotated[int, Field(ge=1), NotIdentity] = 3
    """Runs of the whole line, drafts and teacher included: with the recipe's seed, with seed + 1, and so on."""
    names: Annotated[tuple[ArmName, ...], Field(min_length=1), NotIdentity] = get_args(ArmName)
    """Which arms to run."""
    rows: Annotated[Annotated[int, Field(ge=1)] | None, NotIdentity] = None
    """Training rows per task of every arm. None: as many as the arm has that has fewest."""
    shots: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 3)
    """Solved examples before each test question (ARTE: 0 and 3): the task's first seeds."""
    items: Annotated[int, Field(ge=1)] | None = None
    """Test items per task, drawn by the recipe's seed, the same for every arm and run. None: all."""
    max_tokens: Annotated[int, Field(ge=4)] = 128
    """Room for one answer. What is not answered by then counts as wrong."""

    _ = field_validator("names", "shots")(_no_entry_twice)


MethodArm = Literal["sft", "seqkd", "topk_kd", "on_policy", "dpo", "pad-vpd", "pad-ppd", "sft+pad", "several-teachers"]
PairArm = Literal["plain", "equal", "margin", "smooth", "drop"]


class MethodsConfig(Section):
    """Training methods, ways of pairing and signals, each held against the others (`edgedistill methods`).

    Fields that are NotIdentity say what is compared; they are no part of what one of them gives.
    """

    seeds: Annotated[int, Field(ge=1), NotIdentity] = 3
    """Runs of everything: with the recipe's seed, with seed + 1, and so on."""
    methods: Annotated[tuple[MethodArm, ...], NotIdentity] = get_args(MethodArm)
    """Ways to train the student on the same data. Empty: this table is left out."""
    pairs: Annotated[tuple[PairArm, ...], NotIdentity] = get_args(PairArm)
    """Ways to make preference pairs of the same scores: `plain`, `ties: equal`, and the three of `strength`."""
    signals: Annotated[tuple[str, ...], NotIdentity] = ("icl_accuracy", "answer_loglik", "influence")
    """Ways to score the same drafts: files in signals/."""
    rows: Annotated[int, Field(ge=1), NotIdentity] = 500
    """Training rows per task and pass of an arm whose method sees one sequence per row; others get so many fewer that
    the student reads as many tokens: they are trained again with other rows until that is so, give or take 5%."""
    options: Annotated[dict[str, dict[str, Any]], NotIdentity] = {}
    """Arm -> options of its method, over those of `distill` and the arm's own, e.g. `{pad-ppd: {beta: 5}}`."""
    items: Annotated[Annotated[int, Field(ge=1)] | None, NotIdentity] = None
    """Test items per task, drawn by the recipe's seed, the same for every arm and run. None: all."""
    max_tokens: Annotated[int, Field(ge=4)] = 128
    """Room for one answer. What is not answered by then counts as wrong."""
    groups: Annotated[int, Field(ge=2)] = 20
    """Groups of drafts per task on which the student is tuned, to see what the signals predict."""
    group_size: Annotated[int, Field(ge=1)] = 4
    """Drafts in a group."""
    group_epochs: Annotated[int, Field(ge=1), NotIdentity] = 4
    """Passes over a group, one optimizer step each."""

    @field_validator("options")
    @classmethod
    def _options_are_of_arms(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = get_args(MethodArm)
        if unknown := next((name for name in options if name not in known), None):
            near = difflib.get_close_matches(unknown, known, n=1)
            meant = f" (did you mean `{near[0]}`?)" if near else ""
            raise ValueError(f"no arm named `{unknown}`{meant}; there are: {', '.join(known)}")
        return options

    @field_validator("signals")
    @classmethod
    def _there_are_such_signals(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = components.names("signals")
        if unknown := next((name for name in names if name not in known), None):
            near = components.near(unknown, "signals")
            raise ValueError(f"no signal named `{unknown}`{near}; there are: {', '.join(known)}")
        return names

    _ = field_validator("methods", "pairs", "signals")(_no_entry_twice)
