"""Prompts with several answers: what must be asked of a model to score all of them. Plain Python on token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgedistill.engine import Messages

Ids = Sequence[int]


@dataclass(frozen=True)
class Fork:
    """A prompt with all the answers that are asked of it."""

    prompt: Ids
    answers: tuple[Ids, ...]
    numbers: tuple[int, ...]
    """Place of each answer in the call."""

    @cached_property
    def common(self) -> int:
        """Tokens that all answers begin with; at least one of each answer is left."""
        limit = min(map(len, self.answers)) - 1
        first = self.answers[0]
        return next((at for at in range(limit) if any(a[at] != first[at] for a in self.answers)), max(0, limit))

    @cached_property
    def trunk(self) -> Ids:
        """What is fed once for all answers: the prompt, and what they have in common."""
        return [*self.prompt, *self.answers[0][: self.common]]

    @cached_property
    def branches(self) -> list[Ids]:
        """What is fed of each answer alone. Its last token is asked for, and nothing after it."""
        return [answer[self.common : -1] for answer in self.answers]

    @property
    def size(self) -> int:
        """Tokens that are fed."""
        return len(self.trunk) + sum(map(len, self.branches))

    @property
    def tail(self) -> int:
        """The last of these tokens, whose logits are needed: from the prompt's last one on."""
        return self.size - len(self.prompt) + 1

    def asked(self) -> Iterator[tuple[int, int]]:
        """(place among the `tail` tokens, token whose probability is asked there), answer by answer."""
        begin = self.common + 1
        for answer, branch in zip(self.answers, self.branches, strict=True):
            for place, token in enumerate(answer):
                yield (place if place <= self.common else begin + place - self.common - 1), token
            begin += len(branch)


def each_once(conversations: Sequence[Messages], ids: Callable[[list[Messages]], list[list[int]]]) -> list[list[int]]:
    """Token ids of every conversation; one that comes several times is rendered and tokenized once."""
    keys = [tuple((message["role"], message["content"]) for message in messages) for messages in conversations]
    distinct = dict(zip(keys, conversations, strict=True))
    found = dict(zip(distinct, ids(list(distinct.values())), strict=True))
    return [found[key] for key in keys]


def forks(prompts: Sequence[Ids], answers: Sequence[Ids]) -> list[Fork]:
    """Answers gathered by their prompt, in the order in which the prompts come first."""
    numbers: dict[tuple[int, ...], list[int]] = {}
    for number, prompt in enumerate(prompts):
        numbers.setdefault(tuple(prompt), []).append(number)
    return [Fork(prompt, tuple(answers[n] for n in those), tuple(those)) for prompt, those in numbers.items()]
