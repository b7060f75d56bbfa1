"""TRL's DPO trainer for pairs whose ids are known already."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import DPOTrainer

from edgedistill.ml.turns import Turn


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer that takes `prompt_ids`, `chosen_ids` and `rejected_ids` as given.

    TRL would render and tokenize the pairs itself. It takes the end-of-turn token only where the chat template writes
    one, and drops the end of a prompt when a token spans its border with the answer; SFT here sees other ids than that.
    """

    def _prepare_dataset(self, dataset: Dataset, *unused: Any, **unused_too: Any) -> Dataset:
        return dataset


def pair_rows(chosen: list[Turn], rejected: list[Turn]) -> Dataset:
    """Turns of the same prompts, in the columns that TRL's collator reads."""
    return Dataset.from_dict(
        {
            "prompt_ids": [turn.prompt_ids for turn in chosen],
            "chosen_ids": [turn.completion_ids for turn in chosen],
            "rejected_ids": [turn.completion_ids for turn in rejected],
        }
    )
