"""TRL's DPO trainer for pairs whose ids are known already, with the distance from the original teacher in its log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object, send_to_device
from datasets import Dataset
from torch import Tensor
from trl import DPOTrainer

from edgedistill.ml.pair_loss import Terms, pair_loss
from edgedistill.ml.turns import Turn

Ids = tuple[int, ...]

_TERMS = "terms"
"""Column of the pairs' terms, where they are not all plain."""


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer that takes `prompt_ids`, `chosen_ids` and `rejected_ids` as given, and logs `kl`.

    TRL would render and tokenize the pairs itself. It takes the end-of-turn token only where the chat template writes
    one, and drops the end of a prompt when a token spans its border with the answer; SFT here sees other ids than that.
    Where the rows have `terms`, the loss is that of ml/pair_loss.py; what TRL logs of rewards is over all pairs.
    """

    def __init__(self, *args: Any, tie_weight: float = 1.0, **options: Any) -> None:
        self._moved: list[Tensor] = []
        self._reference: dict[Ids, list[float]] = {}
        self._tie_weight = tie_weight
        super().__init__(*args, **options)
        self.data_collator: Any = _with_terms(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if _TERMS not in self._signature_columns:
            self._signature_columns.append(_TERMS)

    def _prepare_dataset(self, dataset: Dataset, *unused: Any, **unused_too: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """What the model says of the pairs before it learns, in place of a second copy. Every process takes a share.

        TRL's own goes through a cache file that only one process finds, and keeps sums where `kl` wants tokens.
        """
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        share = range(0, len(dataset), batch_size)[rank::count]
        found = sorted(gather_object([self._reference_of(dataset, start, batch_size) for start in share]))
        for _, _, _, by_ids in found:
            self._reference.update(by_ids)
        chosen, rejected = ([value for part in found for value in part[column]] for column in (1, 2))
        return dataset.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)

    def _reference_of(
        self, dataset: Dataset, start: int, size: int
    ) -> tuple[int, list[float], list[float], dict[Ids, list[float]]]:
        """Place, sums of chosen and of rejected answers, and the log-probabilities of each answer's tokens by ids."""
        rows = [dataset[row] for row in range(start, min(start + size, len(dataset)))]
        inputs = self._prepare_inputs(self.data_collator(rows))
        inputs.pop(_TERMS, None)
        with self._seen() as seen:
            chosen, rejected = self.compute_ref_log_probs(self.model, inputs)
        mask = _answers(inputs)
        values = [row[kept].tolist() for row, kept in zip(_last(seen[0], mask), mask, strict=True)]
        return start, chosen.tolist(), rejected.tolist(), dict(zip(_ids(inputs), values, strict=True))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        terms = inputs.pop(_TERMS, None)
        with self._seen() as seen:
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        mask = _answers(inputs)
        learner = _last(seen[0], mask)
        now = learner.detach()[mask]
        if self.precompute_ref_logps:
            known = [value for ids in _ids(inputs) for value in self._reference[ids]]
            before = torch.tensor(known, device=now.device)
        else:
            before = _last(seen[1], mask)[mask]
        self._moved.append(torch.stack([distance(now, before), mask.sum().float()]))
        if terms is None:
            return result
        loss = pair_loss(_changes(learner, before, mask), terms, self.beta, self._tie_weight)
        return (loss, result[1]) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._moved:
            total, tokens = self.accelerator.gather(torch.stack(self._moved)).sum(dim=0).tolist()
            logs["kl"] = total / tokens
            self._moved.clear()
        super().log(logs, start_time)

    @contextmanager
    def _seen(self) -> Iterator[list[Tensor]]:
        """Log-probabilities (B, T) of every pass through the model meanwhile: the learner's, then the reference's."""
        seen: list[Tensor] = []

        def keep(module: Any, given: Any, output: Any) -> Any:
            output = brought_to(self.args.device, output)
            seen.append(output.log_probs)
            return output

        hook = self.model.register_forward_hook(keep)
        try:
            yield seen
        finally:
            hook.remove()


def brought_to(device: torch.device, output: Any) -> Any:
    """What a model gave, on that device: spread over several GPUs it ends on the last, the inputs are on the first.

    accelerate would bring it back, but for TRL's own head, which passes its hook by.
    """
    return output if output.log_probs.device == device else send_to_device(output, device)


def distance(now: Tensor, before: Tensor) -> Tensor:
    """How far a model moved from an earlier state, in nats, summed over tokens; never negative.

    With r = p_now / p_before of a token that the earlier state drew, r - 1 - ln r is an estimate of
    KL(before || now) at its place. The pairs are such draws, though chosen ones and asked for in other words, so
    this tells how far the model moved on them and not how far it moves on what it writes next.

    Shapes   N tokens
        now, before  (N,) float   natural log-probabilities of the same tokens
        returns      ()   float32
    Source   J. Schulman, "Approximating KL divergence", 2020, estimator k3
    """
    change = (now.float() - before.float()).clamp(max=20.0)
    return (torch.expm1(change) - change).sum()


def _changes(learner: Tensor, before: Tensor, mask: Tensor) -> Tensor:
    """By how much the log-odds of the chosen answers over the rejected ones differ from the reference's.

    Shapes   B pairs, T tokens, N answer tokens of all rows
        learner  (2B, T) float   log-probabilities, the chosen rows first
        before   (N,)    float   the reference's, row after row
        mask     (2B, T) bool    where the answers are
        returns  (B,)    float
    """
    reference = torch.zeros_like(learner, dtype=torch.float32).masked_scatter(mask, before.float())
    ratios = torch.where(mask, learner.float() - reference, 0.0).sum(dim=1)
    chosen, rejected = ratios.chunk(2)
    return chosen - rejected


def _with_terms(collate: Any) -> Any:
    """TRL's collator drops the columns that it does not know; this one keeps the terms, (B, 3)."""

    def batch(rows: list[dict[str, Any]]) -> dict[str, Any]:
        inputs: dict[str, Any] = collate(rows)
        if _TERMS in rows[0]:
            inputs[_TERMS] = torch.tensor([row[_TERMS] for row in rows])
        return inputs

    return batch


def _answers(inputs: dict[str, Any]) -> Tensor:
    """(B, T-1) bool: where the next token belongs to an answer."""
    mask: Tensor = inputs["completion_mask"][:, 1:].bool()
    return mask


def _last(log_probs: Tensor, mask: Tensor) -> Tensor:
    """The last columns, as many as the mask has."""
    return log_probs[:, -mask.shape[1] :]


def _ids(inputs: dict[str, Any]) -> list[Ids]:
    """Each row's tokens without padding."""
    rows = zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
    return [tuple(ids[kept].tolist()) for ids, kept in rows]


def pair_rows(chosen: list[Turn], rejected: list[Turn], terms: list[Terms] | None = None) -> Dataset:
    """Turns of the same prompts, in the columns that TRL's collator reads; `terms` where not all pairs are plain."""
    columns: dict[str, list[Any]] = {
        "prompt_ids": [turn.prompt_ids for turn in chosen],
        "chosen_ids": [turn.completion_ids for turn in chosen],
        "rejected_ids": [turn.completion_ids for turn in rejected],
    }
    return Dataset.from_dict({**columns, **({_TERMS: [one.row for one in terms]} if terms else {})})
