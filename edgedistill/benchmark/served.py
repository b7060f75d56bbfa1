"""A model that answers requests, and says how long it took by its own clock: what a benchmark drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgedistill.benchmark.limits import Limits
from edgedistill.golden import GoldenCase
from edgedistill.parity import Parity


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

    def replay(self, cases: Sequence[GoldenCase], limits: Limits) -> Parity:
        """The golden cases, see `limits.check`."""

    def ask(self, ids: Sequence[int], new_tokens: int) -> Times:
        """Read a prompt from its first token on, and write exactly so many tokens, past the answer's end too.

        Raises  DeviceError when it does not answer any more
        """
