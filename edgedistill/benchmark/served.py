"""A model that answers requests, and says how long it took by its own clock: what a benchmark drives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgedistill.benchmark.limits import Limits
from edgedistill.golden import GoldenCase
from edgedistill.parity import Parity

Keep = Callable[[dict[str, Any]], None]
"""Is given what was said to one golden case, as soon as it is whole: plain JSON, with the case's `id`."""


@dataclass(frozen=True)
class Times:
    """One request."""

    prompt_tokens: int
    prompt_ms: float
    """From the prompt's tokens until the first token is chosen."""
    new_tokens: int
    decode_ms: float
    """Of all new tokens but the first, which comes with the prompt."""

    @property
    def token_ms(self) -> float:
        return self.decode_ms / (self.new_tokens - 1)

    @property
    def prompt_token_ms(self) -> float:
        return self.prompt_ms / self.prompt_tokens


class Served(Protocol):
    """A runtime with the model in memory."""

    name: str
    """Program and build, for the reader."""
    pid: int | None
    """Its process on the device; None where it is not known."""
    memory: str
    """What the most memory that its process ever had is the memory of."""

    def replay(
        self, cases: Sequence[GoldenCase], limits: Limits, known: Mapping[str, dict[str, Any]], keep: Keep
    ) -> Parity:
        """The golden cases, see `limits.check`. They leave the process more memory than an app's requests do.

        known  what `keep` was given in an equal run that was cut, by the case's id: it is not asked again
        """

    def ask(self, ids: Sequence[int], new_tokens: int) -> Times:
        """Read a prompt from its first token on, and write exactly so many tokens, past the answer's end too.

        Raises  DeviceError when it does not answer any more
        """
