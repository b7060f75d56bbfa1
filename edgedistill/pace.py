"""Where a long comparison stands: `seed 1 of 3, arm 3 of 18: method dpo; about 41 minutes left`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgedistill.log import say


@dataclass
class Pace:
    """Says a line for every arm. What is left is told once an arm is over, at the mean pace of those so far."""

    seeds: int
    arms: int
    """With each seed."""
    clock: Callable[[], float] = time.monotonic
    begun: float = field(init=False)
    passed: int = 0

    def __post_init__(self) -> None:
        self.begun = self.clock()

    def step(self, name: str) -> None:
        """An arm begins."""
        seed, arm = divmod(self.passed, self.arms)
        left = ""
        if self.passed:
            minutes = (self.clock() - self.begun) / self.passed * (self.seeds * self.arms - self.passed) / 60
            left = f"; about {minutes:,.0f} minutes left"
        say(f"seed {seed + 1} of {self.seeds}, arm {arm + 1} of {self.arms}: {name}{left}")
        self.passed += 1
