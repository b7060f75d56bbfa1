"""Running text in place of a task: how well a candidate foretells it, and how far it is from the float student there.

A model that comes without a task has no answers that are right or wrong. What can be shown is that its file says the
same as its float form: on a given text, or on the built-in one, every next token's distribution is compared.

    perplexity   exp of the mean negative log-likelihood per token
    ratio        candidate's perplexity over the float student's, with a 95% interval over blocks of tokens

Source  the measure as in llama.cpp's tools/perplexity; blocks for the interval are ours, as neighbors are alike
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgedistill import shift
from edgedistill.errors import UsageError
from edgedistill.files import sha256_of
from edgedistill.golden import Student
from edgedistill.sections import TextConfig

BUILT_IN = Path(__file__).parent / "texts" / "general.txt"
"""Prose, talk, instructions, arithmetic, code and six languages; ours."""
FOR_CALIBRATION = BUILT_IN.with_name("calibration.txt")
"""Another of the same kinds: what quantization has seen is not what it is judged on."""
BLOCK = 64
"""Tokens whose mean counts as one observation."""
_KEPT = 512
"""Likeliest tokens of each position that are kept of the float student."""
_CHARACTERS_PER_TOKEN = 8
"""More than any vocabulary needs: a longer document is not tokenized beyond what could be used."""
_MOST_NLL = 60.0
"""Nats that one token can cost: exp of the mean stays a number, whatever a damaged file says."""
_SHORTEST_QUESTION = 16
"""Characters: a shorter one may stand in a text by chance."""
_SHORTEST = 8
"""Tokens of a window that is worth looking at."""


@dataclass(frozen=True)
class Text:
    """A text file, checked: plain text is one document, a `.jsonl` file one per row, in `text`."""

    path: Path
    sha256: str
    config: TextConfig

    def identity(self) -> dict[str, Any]:
        return {"text": self.sha256, "is_rows": self.path.suffix == ".jsonl", **self.config.identity()}

    def documents(self) -> list[str]:
        """Raises UsageError for a file that is not such a text."""
        try:
            content = self.path.read_text(encoding="utf-8")
            rows = [json.loads(line)["text"] for line in content.splitlines() if line.strip()] if self._has_rows else []
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UsageError(
                f"text.file: {self.path} cannot be read: {error}", "give UTF-8 text, or rows with `text`"
            ) from None
        found = [row for row in rows if isinstance(row, str) and row.strip()] if self._has_rows else [content]
        if not any(document.strip() for document in found):
            raise UsageError(f"text.file: {self.path} holds no text")
        return found

    def first_of(self, questions: Sequence[str]) -> str | None:
        """The first of these questions that the text holds, case and spacing aside; very short ones stand anywhere."""
        whole = " ".join(" ".join(self.documents()).lower().split())
        long_ones = (question for question in questions if len(question) >= _SHORTEST_QUESTION)
        return next((question for question in long_ones if " ".join(question.lower().split()) in whole), None)

    @property
    def _has_rows(self) -> bool:
        return self.path.suffix == ".jsonl"


def open_text(config: TextConfig, folder: Path, built_in: Path = BUILT_IN, option: str = "text.file") -> Text:
    """The text that a recipe names, or the built-in one."""
    path = folder / config.file if config.file else built_in
    if not path.is_file():
        raise UsageError(f"{option}: {path} does not exist", "leave it out for the built-in text")
    text = Text(path, sha256_of(path), config)
    text.documents()
    return text


class Reader(Protocol):
    """What is asked of a runtime."""

    def text_ids(self, text: str) -> list[int]:
        """Of a text as it stands: no template, no begin token."""

    def next_log_probs(self, ids: Sequence[int]) -> Any:
        """(ids, vocabulary) float32 natural-log probabilities of what follows each of the ids."""


@dataclass(frozen=True)
class Reading:
    """How the float student read the text.

    Shapes   P scored tokens of all windows, one after the other; K kept tokens of the vocabulary
    """

    name: str
    """Of the text's file."""
    pieces: list[tuple[str, list[int]]]
    """Documents, as far as they were used, and their ids."""
    windows: list[list[int]]
    """Each with the begin token that the student's tokenizer puts before a text."""
    begin: int
    """Tokens at the start of a window that are not scored."""
    nll: Any
    """(P,) float64 nats"""
    ids: Any
    """(P, K) int32, the likeliest first"""
    log_probs: Any
    """(P, K) float32"""
    config: TextConfig
    """With the limits."""

    @property
    def perplexity(self) -> float:
        return math.exp(float(self.nll.mean()))


def read(text: Text, student: Student, context: int) -> Reading:
    """The float student's reading of the text's first tokens. Raises UsageError when there are too few."""
    import numpy as np

    config = text.config
    begin, pieces = student.begin_ids(), list[tuple[str, list[int]]]()
    windows: list[list[int]] = []
    left = config.tokens
    for document in text.documents():
        if left < _SHORTEST:
            break
        piece = student.as_read(document[: _CHARACTERS_PER_TOKEN * left])
        ids = student.text_ids(piece)
        pieces.append((piece, ids))
        windows += _windows(ids[:left], begin, min(config.window, context, student.context) - 1)
        left -= len(ids[:left])
    if not windows:
        raise UsageError(f"{text.path} has fewer than {_SHORTEST} tokens of this model", "give a longer `text.file`")
    first = max(len(begin), 1)
    scored = [_scored(student, window, first) for window in windows]
    nll, top, log_probs = (np.concatenate([parts[place] for parts in scored]) for place in range(3))
    return Reading(text.path.name, pieces, windows, first, nll, top, log_probs, config)


def _windows(ids: list[int], begin: list[int], size: int) -> list[list[int]]:
    own = size - len(begin)
    cut = (ids[start : start + own] for start in range(0, len(ids), own))
    return [begin + part for part in cut if len(part) >= _SHORTEST]


def _scored(student: Student, window: list[int], first: int) -> tuple[Any, Any, Any]:
    """(P,) nll, (P, K) ids and log probabilities of the tokens from `first` on."""
    import numpy as np

    log_probs = student.next_log_probs(window)[first - 1 : -1]
    order = shift.likeliest(log_probs)[:, :_KEPT]
    return nll_of(log_probs, window[first:]), order.astype(np.int32), np.take_along_axis(log_probs, order, axis=1)


def nll_of(log_probs: Any, tokens: Sequence[int]) -> Any:
    """(P,) float64 nats from (P, V) log probabilities and the tokens that came, all of them below V."""
    import numpy as np

    found = log_probs[np.arange(len(tokens)), tokens].astype(np.float64)
    return -np.where(found > -_MOST_NLL, found, -_MOST_NLL)  # NaN is no share either


def line(before: Reading, runtime: Reader) -> dict[str, Any]:
    """`text` of the report's schema: a candidate's reading beside the float student's. Only of one that has the same
    token ids (`ids_difference`): another vocabulary may lack those that it would be fed with.
    """
    import numpy as np

    nll, kl, same, at = [], [], [], 0
    for window in before.windows:
        after = runtime.next_log_probs(window)[before.begin - 1 : -1]
        part = slice(at, at + len(after))
        nll.append(nll_of(after, window[before.begin :]))
        kl.append(shift.divergences(before.ids[part], before.log_probs[part], after))
        same.append(before.ids[part, 0] == after.argmax(axis=1))
        at += len(after)
    own, far = np.concatenate(nll), np.concatenate(kl)
    low, middle, high = _ratio(own - before.nll)
    figures = {
        "perplexity": math.exp(float(own.mean())),
        "float_perplexity": before.perplexity,
        "ratio": middle,
        "ratio_ci_low": low,
        "ratio_ci_high": high,
        "kl_mean": float(far.mean()),
        "kl_p99": float(np.quantile(far, 0.99)),
        "same_top1": float(np.concatenate(same).mean()),
    }
    made: dict[str, Any] = {name: round(value, 6) for name, value in figures.items()}
    made |= {"tokens": len(own)}
    made |= {"ratio_max": before.config.perplexity_ratio_max, "kl_mean_max": before.config.kl_mean_max}
    return {**made, "problems": list(_problems(made))}


def _ratio(differences: Any) -> tuple[float, float, float]:
    """Low end, value and high end of exp(mean), 95% over blocks of tokens."""
    import numpy as np

    blocks = [part.mean() for part in np.array_split(differences, max(2, len(differences) // BLOCK))]
    mean, spread = float(differences.mean()), 1.96 * float(np.std(blocks, ddof=1)) / math.sqrt(len(blocks))
    low, middle, high = (math.exp(value) for value in (mean - spread, mean, mean + spread))
    return low, middle, high


def ids_difference(before: Reading, runtime: Reader) -> str:
    """The first place where a candidate splits the text in another way; empty where it does not."""
    for text, ids in before.pieces:
        own = runtime.text_ids(text)
        if own != ids:
            place = next((n for n, (a, b) in enumerate(zip(own, ids, strict=False)) if a != b), min(len(own), len(ids)))
            return f"text: token ids differ at position {place} of a document that begins {text[:24]!r}"
    return ""


def _problems(made: dict[str, Any]) -> Iterator[str]:
    """Why a candidate should not ship: it must be shown to keep a limit, so the interval's far end counts."""
    if not made["ratio_ci_high"] <= made["ratio_max"]:
        limit = f"the limit is {made['ratio_max']:g}"
        yield f"perplexity may be {made['ratio_ci_high']:.4f} times the float student's, {limit}"
    if not made["kl_mean"] <= made["kl_mean_max"]:
        yield f"mean KL on the text is {made['kl_mean']:.4f} nats, the limit is {made['kl_mean_max']:g}"
