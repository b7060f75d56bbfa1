"""An engine around a runtime that reads one sequence of tokens at a time, as the ONNX runtimes do.

What the conversations of a call have in common with the one before is not read again: the sequence is taken back to
where they part. Conversations are asked in the order of their tokens, so that those with a long common beginning follow
each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from edgedistill.context import check_lengths
from edgedistill.engine import Messages
from edgedistill.ml.sampling import Picker, cut, log_softmax, picker


class Reader(Protocol):
    """A model in memory, and the tokens that it has read."""

    context: int
    """Tokens that it can hold."""

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Read on; returns the logits after the last of `ids` (at least one): (vocabulary,) float32."""

    def feed_all(self, ids: Sequence[int]) -> np.ndarray:
        """The same, with the logits after each: (ids, vocabulary) float32."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def close(self) -> None:
        """Free the memory."""


class Words(Protocol):
    """Text to tokens and back, as the exported files have it."""

    def render(self, messages: Messages) -> str:
        """The prompt text, generation prompt included. Raises UsageError when the template refuses."""

    def ids(self, text: str) -> list[int]:
        """Without special tokens of the tokenizer's own: the template has written them."""

    def text(self, ids: Sequence[int]) -> str:
        """Without special tokens."""


class StepwiseEngine:
    """See `edgedistill.parity.Runtime`."""

    def __init__(self, name: str, reader: Reader, words: Words, end_ids: Sequence[int], context: int | None) -> None:
        self.name, self._reader, self._words = name, reader, words
        self._end_ids = frozenset(end_ids)
        self.context = min(context or reader.context, reader.context)
        self._read: list[int] = []

    def render(self, messages: Messages) -> str:
        return self._words.render(messages)

    def token_ids(self, messages: Messages) -> list[int]:
        return self._words.ids(self.render(messages))

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids, without special tokens."""
        return self._words.text(list(answer))

    def text_ids(self, text: str) -> list[int]:
        """Of a text as it stands: no template, no begin token."""
        return self._words.ids(text)

    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._end_ids

    def next_log_probs(self, ids: Sequence[int]) -> Any:
        """(ids, vocabulary) float32 log probabilities of what follows each of the ids."""
        self._check_lengths([len(ids) - 1])
        self._rewind(0)
        return log_softmax(self._feed_all(list(ids)))

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        stop: str = "",
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        """One answer per conversation; an answer ends early when the context is full."""
        pick = picker(len(conversations), temperature, seed)
        answers = self._answers(conversations, max_tokens, pick, stop, on_done)
        return [cut(self.text_of(answer), stop) for answer in answers]

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""
        return self._answers(conversations, max_tokens, picker(0, 0.0, 0), "", lambda n: None)

    def _answers(
        self,
        conversations: Sequence[Messages],
        max_tokens: int,
        pick: Picker,
        stop: str,
        on_done: Callable[[int], None],
    ) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in conversations]
        for number, prompt, logits in self._asked(conversations):
            answer, room = answers[number], min(max_tokens, self.context - len(prompt))
            token = pick(logits[None], [number])[0]
            while token not in self._end_ids:
                answer.append(token)
                if len(answer) >= room or self._is_stopped(answer, stop):
                    break
                token = pick(self._feed([token])[None], [number])[0]
            on_done(1)
        return answers

    def _is_stopped(self, answer: list[int], stop: str) -> bool:
        # A token is at least one byte, so the stop text lies within this many of the last ones.
        return bool(stop) and stop in self.text_of(answer[-len(stop.encode()) - 1 :])

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        """(conversations, vocabulary) float32"""
        found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(conversations)
        for number, _, logits in self._asked(conversations):
            found[number] = log_softmax(logits)
        return np.stack(found) if found else np.zeros((0, 0), np.float32)

    def answer_log_probs(
        self,
        conversations: Sequence[Messages],
        answers: Sequence[str],
        *,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in answers]
        ids = [self._words.ids(answer) for answer in answers]
        for number, prompt, logits in self._asked(conversations):
            answer = ids[number]
            self._check_lengths([len(prompt) + len(answer) - 1])
            rows = [logits[None]] + ([self._feed_all(answer[:-1])] if len(answer) > 1 else [])
            log_probs = log_softmax(np.concatenate(rows))[: len(answer)]
            found[number] = log_probs[np.arange(len(answer)), answer].tolist()
            on_done(1)
        return found

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""
        _, _, logits = next(self._asked([messages]))
        rows = [logits[None]] + ([self._feed_all(list(answer))] if answer else [])
        return log_softmax(np.concatenate(rows))

    def sequences(self, count: int, cells: int) -> Alone:
        """The one sequence that such a runtime has, as `latency` drives it. `cells`: tokens it has room for."""
        assert count == 1, f"{self.name} runs one sequence at a time"
        self._rewind(0)
        return Alone(self)

    def _asked(self, conversations: Sequence[Messages]) -> Iterator[tuple[int, list[int], np.ndarray]]:
        """Yields (number, prompt, logits after it), in the order of the prompts' tokens."""
        prompts = [self.token_ids(messages) for messages in conversations]
        self._check_lengths([len(prompt) for prompt in prompts])
        self._rewind(0)  # what was asked before must not show, not even in the rounding
        for number in sorted(range(len(prompts)), key=lambda n: (prompts[n], n)):
            prompt = prompts[number]
            self._rewind(min(_common(self._read, prompt), len(prompt) - 1))
            yield number, prompt, self._feed(prompt[len(self._read) :])

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        check_lengths(lengths, self.context)

    def _feed(self, ids: Sequence[int]) -> np.ndarray:
        self._read += ids
        return self._reader.feed(ids)

    def _feed_all(self, ids: Sequence[int]) -> np.ndarray:
        self._read += ids
        return self._reader.feed_all(ids)

    def _rewind(self, length: int) -> None:
        if length < len(self._read):
            self._reader.rewind(length)
            del self._read[length:]

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Alone:
    """One sequence with the face of `llama_runtime.Sequences`."""

    def __init__(self, engine: StepwiseEngine) -> None:
        self._engine = engine

    def rewind(self, length: int) -> None:
        self._engine._rewind(length)

    def feed(self, rows: Sequence[tuple[int, Sequence[int]]]) -> np.ndarray:
        """(1, vocabulary) logits after the ids of the one row."""
        ((_, ids),) = rows
        return self._engine._feed(ids)[None]

    def close(self) -> None:
        self._engine._rewind(0)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two rows have in common at their start."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
