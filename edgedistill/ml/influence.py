"""What one optimizer step on one training row does to a model: the step is taken, something is measured, and undone.

The step is AdamW's first one without weight decay, except that the second moments know more than this one row:

    v = mean of g^2 over the row and some rows before it        step = -rate * g / (sqrt(v) + eps)

With the row's own gradient alone every weight would move by the same amount, `rate`, whatever the row says.

Source   X. Li et al., "Montessori-Instruct", arXiv:2410.14208, sec. 3.2, takes the step from a warm checkpoint with its
         optimizer state. A student that comes without one gets the second moments of the task's seeds; momentum is
         left out, since it would be the same for all rows
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from edgedistill.ml.decode import Decoder
from edgedistill.ml.shared_prefix import KeyValues, Prefix
from edgedistill.ml.turns import Turn, turns

_EPS = 1e-8
"""AdamW's default."""


def encode(decoder: Decoder, rows: Sequence[tuple[str, str]]) -> list[Turn]:
    """(prompt, answer) rows as training sees them, end-of-turn token included."""
    own = decoder.tokenizer.eos_token_id
    ends = tuple(dict.fromkeys([*([] if own is None else [own]), *sorted(decoder.end_ids)]))
    return turns(decoder.tokenizer, ends, rows)


class Stepper:
    """Takes single steps on a model from where it stands, and takes them back."""

    def __init__(self, decoder: Decoder, before: Sequence[Turn], rate: float) -> None:
        """`before`: the rows whose squared gradients a step is scaled by, beside its own. Weights learn as float32."""
        self._decoder, self._rate, self._count = decoder, rate, len(before)
        self._stored = decoder.model.dtype
        decoder.model.float()
        self._weights = [weight for weight in decoder.model.parameters() if weight.requires_grad]
        self._kept = [weight.detach().clone() for weight in self._weights]
        self._squares = [torch.zeros_like(weight) for weight in self._weights]
        for turn in before:
            for square, gradient in zip(self._squares, self.gradients(turn), strict=True):
                square.addcmul_(gradient, gradient)

    def gradients(self, turn: Turn) -> list[Tensor]:
        """Of the row's mean loss per answer token."""
        found = torch.autograd.grad(answer_loss(self._decoder, turn), self._weights)
        return [gradient.detach() for gradient in found]

    @contextmanager
    def step(self, turn: Turn) -> Iterator[None]:
        """Within it the model is one step on `turn` ahead; afterwards it is what it was, bit for bit."""
        gradients = self.gradients(turn)
        with torch.no_grad():
            for weight, square, gradient in zip(self._weights, self._squares, gradients, strict=True):
                second = (square + gradient.square()) / (self._count + 1)
                weight.addcdiv_(gradient, second.sqrt_().add_(_EPS), value=-self._rate)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, kept in zip(self._weights, self._kept, strict=True):
                    weight.copy_(kept)

    def close(self) -> None:
        """The model gets its own number format back."""
        self._decoder.model.to(self._stored)


def answer_loss(decoder: Decoder, turn: Turn) -> Tensor:
    """Mean cross-entropy of the answer's tokens after the prompt, in nats; () float32, with gradients."""
    ids = torch.tensor([turn.input_ids[:-1]], device=decoder.device)
    targets = torch.tensor(turn.completion_ids, device=decoder.device)
    cache = KeyValues([Prefix()], [1], decoder.device)
    positions = torch.arange(ids.shape[1], device=decoder.device)[None]
    logits = decoder.forward(ids, positions, cache, keep=len(targets))  # (1, A, V) of an answer of A tokens
    return torch.nn.functional.cross_entropy(logits[0], targets)
