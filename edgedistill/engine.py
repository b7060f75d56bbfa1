"""What every engine offers: batches in, batches out. The files in engines/ are its alternatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol, Self

from edgedistill import components, versions
from edgedistill.errors import UsageError
from edgedistill.models import Model

Messages = Sequence[dict[str, str]]
"""A conversation: `{"role": "user", "content": …}`, oldest first. The engine adds the generation prompt."""


@dataclass(frozen=True)
class Likeliest:
    """What a model holds likeliest at each of an answer's T tokens, in numpy; K tokens kept, likeliest first."""

    ids: Any
    """(T, K) int32"""
    log_probs: Any
    """(T, K) float32, natural logarithm"""
    own: Any
    """(T,) float32, of the answer's own tokens"""


class Engine(Protocol):
    """A loaded model. Close it (or leave its `with` block) before the next one is opened: memory is the limit."""

    def render(self, messages: Messages) -> str:
        """The prompt text after the model's chat template, generation prompt included."""

    def token_ids(self, messages: Messages) -> list[int]:
        """The ids that the model sees for `render(messages)`."""

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str = "",
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        """One answer per conversation, without special tokens; `on_done(n)` after every n finished answers.

        An answer also ends with the first `stop` text in it, where one is given.
        Greedy at temperature 0. Below 1, `top_p` leaves the fewest likeliest tokens that together reach it. The same
        arguments give the same answers on the same machine and thread count. What
        the conversations of one call have in common at their start is encoded once.
        """

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        """(conversations, vocabulary) float32 natural-log probabilities of the first answer token."""

    def answer_log_probs(
        self,
        conversations: Sequence[Messages],
        answers: Sequence[str],
        *,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[list[float]]:
        """Natural-log probability of each token of `answers[i]`, right after the rendered `conversations[i]`.

        Nothing is generated. The prompt's tokens stay as they are and the answer is tokenized on its own, without
        special tokens. What the conversations of one call have in common at their start is encoded once, and so is a
        conversation that comes several times with different answers. `on_done(n)` after every n answers.
        """

    def likeliest(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        count: int,
        *,
        vocabulary: int | None = None,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[Likeliest]:
        """The `count` likeliest tokens at each token of `answers[i]` right after `prompts[i]`, all as token ids.

        Ids from `vocabulary` on are padding of the embedding and never come up: the others share what the model gives
        to them. `count` as large as the vocabulary gives whole distributions, in its order. `on_done(n)` after every n
        answers.
        """

    def close(self) -> None:
        """Free the memory."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_engine(model: Model, answered: Path | None = None) -> Engine:
    """The model in the engine that its recipe names.

    answered  file where a server's answers are kept as they come; other engines have no use for it
    """
    module = components.load("engines", model.engine)
    engine: Engine = module.open_engine(model, answered) if model.server else module.open_engine(model)
    return engine


def open_file(path: Path, format_name: str, *, context: int, threads: int | None = None) -> Any:
    """An exported file, or folder, in the engine that runs its format: a `parity.Runtime`.

    context  tokens that a conversation may have, answer included
    threads  None: OMP_NUM_THREADS, or as many as this process has cores
    Raises   UsageError when no engine runs the format; CannotRun when this one cannot load the file, and IntegrityError
             for one that it should not even see
    """
    return _runner(format_name).open_file(path, context=context, threads=threads)


def runtimes(formats: Iterable[str]) -> dict[str, str]:
    """What runs files of these formats, and in which version: figures that were taken with another are others.

    An engine states its own VERSION, and in PACKAGES the libraries that compute for it.
    """
    found = {}
    for module in map(_runner, formats):
        found[module.__name__.rpartition(".")[2]] = str(module.VERSION)
        found |= {name: versions.of_package(name) for name in module.PACKAGES}
    return dict(sorted(found.items()))


def _runner(format_name: str) -> ModuleType:
    for name in components.names("engines"):
        module = components.load("engines", name)
        if getattr(module, "FORMAT", None) == format_name:
            return module
    raise UsageError(f"no engine runs files of format `{format_name}`")


def user(text: str) -> Messages:
    """A conversation of one user message."""
    return [{"role": "user", "content": text}]
