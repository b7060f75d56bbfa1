"""A student's own responses to each prompt, drawn and then chosen to differ. In shards, so that a kill loses little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedistill.engine import user
from edgedistill.models import Model
from edgedistill.shards import Row, in_shards, on_demand, seed_of

_PROMPTS = 64
"""Of one shard."""
_FULL = 0.9
"""Share of the room from which a response counts as cut off: tokens that were drawn may be more than its text has."""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    count: int
    """Per prompt."""
    temperature: float
    top_p: float
    max_tokens: int
    """Room for one response."""


def drawn(out: Path, prompts: Sequence[str], model: Model, how: Sampling, seed: int) -> list[list[str]]:
    """`how.count` responses of the model to each prompt (user message). Shards go to out/shards/responses."""
    with on_demand(model, out) as opened:

        def make(part: Sequence[str], number: int, advance: Callable[[int], None]) -> list[Row]:
            texts = opened().generate(
                [user(prompt) for prompt in part for _ in range(how.count)],
                max_tokens=how.max_tokens,
                temperature=how.temperature,
                top_p=how.top_p,
                seed=seed_of(seed, "responses", number),
                on_done=advance,
            )
            return [{"responses": texts[at * how.count : (at + 1) * how.count]} for at in range(len(part))]

        rows = in_shards(out / "shards" / "responses", prompts, _PROMPTS, "responses", make, each=how.count)
    return [row["responses"] for row in rows]


def came_to_an_end(tokens: int, how: Sampling) -> bool:
    """Whether a response with as many tokens was ended by the model itself, and not by the room that it had.

    Engines return texts, and the tokens of a text can be fewer than were drawn; so one that nearly fills the room
    counts as cut off. Taking an ended one for cut off only leaves its end token unlearned.
    """
    return tokens < _FULL * how.max_tokens


def spread(texts: Sequence[str], count: int) -> list[str] | None:
    """`count` of the texts, far from each other: the first one, then always the one farthest from all that were taken.

    Distance is Levenshtein's, in characters; of equally far ones the first is taken. Texts that come twice are one.
    Returns  None where there are fewer distinct ones, empty ones not counted
    Source   github.com/EganGu/PAD at 89f2a91: greedy farthest point, from sample 0. There a prompt with any two equal
             texts is dropped; here only one without enough distinct ones
    """
    from rapidfuzz.distance import Levenshtein

    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(distinct) < count:
        return None
    taken = [0]
    nearest = [Levenshtein.distance(distinct[0], text) for text in distinct]
    while len(taken) < count:
        farthest = max(range(len(distinct)), key=lambda place: (nearest[place], -place))
        taken.append(farthest)
        own = (Levenshtein.distance(distinct[farthest], text) for text in distinct)
        nearest = [min(pair) for pair in zip(nearest, own, strict=True)]
    return [distinct[place] for place in taken]
