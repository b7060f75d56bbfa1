"""Sequence-level distillation: teachers answer the prompts of the tailored rows, and the student learns the answers.

    L = - sum over answers y of  q(y | x) log p(y | x)

is estimated by answers that the teachers draw. At temperature 0 it is the paper's: the likeliest answer stands for all;
with the recipe's own teacher alone that is what the tailored rows say already, and `sft` learns it. Only text is asked
of a teacher, so any engine and any tokenizer will do.

Source  Kim and Rush 2016, arXiv:1606.07947v4, eq. 5 and sec. 3.2; several teachers, one per prompt: SKDBERT,
        arXiv:2211.14466
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from edgedistill import tutors as teaching
from edgedistill.engine import Engine, user
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.learning import TutoredConfig
from edgedistill.methods import sft
from edgedistill.models import Model
from edgedistill.prompts import extract_answer
from edgedistill.sections import Asks
from edgedistill.shards import Row, in_shards, on_demand, seed_of
from edgedistill.tutors import Tutor

VERSION = 2  # 2: answers may be checked, and drawn again

_SHARD = 64


class Config(TutoredConfig):
    """Options of `method: seqkd`."""

    answers: Annotated[int, Field(ge=1)] = 1
    """Answers of a teacher to each prompt."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Of these answers. 0: the likeliest one."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The fewest likeliest tokens that together reach this are drawn from."""
    max_answer_tokens: Annotated[int, Field(ge=4)] = 256
    """Room for one answer. One without `<ans>…</ans>` by then is not usable."""
    check_answers: bool = False
    """Use only answers that say between `<ans>` and `</ans>` what the row's own does, as `tailor.check_answers` has
    rows do."""
    attempts: Annotated[int, Field(ge=1)] = 1
    """Draws of an answer until one is usable. What is not usable then is dropped and counted."""

    @property
    def asks(self) -> Asks:
        return Asks(sequences=self.answers, teacher_answers=self.answers)


def train(
    out: Path, rows: list[tuple[str, str]], student: Model, config: Config, seed: int, tutors: Sequence[Tutor] = ()
) -> dict[str, Any]:
    """Let the tutors answer the rows' prompts, one tutor for each prompt, and teach the student their answers.

    Leaves  model/, curve.jsonl, and answers.jsonl: prompt, answer, tutor (its place among them), kept
    Returns what sft does, and answers that could not be used (unusable)
    Raises  StageFailed when no answer can be used
    """
    assert tutors, "seqkd needs a tutor"
    written = _answers(out, [row for row in rows for _ in range(config.answers)], config, seed, tutors)
    write_rows(out / "answers.jsonl", written)
    kept = [(row["prompt"], row["answer"]) for row in written if row["kept"]]
    if not kept:
        raise StageFailed(
            f"distill: none of {len(written):,} answers of the teachers has "
            f"{'the answer of its row' if config.check_answers else '<ans>…</ans>'}",
            "raise `distill.max_answer_tokens` or `distill.attempts`, or lower `distill.temperature`",
        )
    counts = sft.train(out, kept, student, config, seed)
    return {**counts, "unusable": len(written) - len(kept)}


def _answers(out: Path, asked: list[tuple[str, str]], config: Config, seed: int, tutors: Sequence[Tutor]) -> list[Row]:
    """One row per asked one, in order; tutors are opened one after another."""

    def of_one(tutor: Tutor, number: int, own: list[tuple[str, str]]) -> list[Row]:
        with on_demand(tutor.model, out) as opened:

            def make(part: Sequence[tuple[str, str]], at: int, advance: Callable[[int], None]) -> list[Row]:
                texts = _drawn(opened(), part, config, seed_of(seed, "seqkd", number, at))
                advance(len(part))
                return [
                    {"prompt": prompt, "answer": text, "tutor": number, "kept": _is_usable(text, expected, config)}
                    for (prompt, expected), text in zip(part, texts, strict=True)
                ]

            return in_shards(out / "shards" / "answers" / str(number), own, _SHARD, "answers", make)

    return teaching.in_turns(tutors, asked, seed, of_one)


def _drawn(engine: Engine, asked: Sequence[tuple[str, str]], config: Config, seed: int) -> list[str]:
    """An answer to each; those that are not usable are drawn again, while there are attempts left."""
    texts = [""] * len(asked)
    left = list(range(len(asked)))
    for attempt in range(config.attempts):
        answers = engine.generate(
            [user(asked[place][0]) for place in left],
            max_tokens=config.max_answer_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=seed_of(seed, "attempt", attempt) if attempt else seed,
        )
        for place, text in zip(left, answers, strict=True):
            texts[place] = text
        left = [place for place in left if not _is_usable(texts[place], asked[place][1], config)]
        if not left:
            break
    return texts


def _is_usable(text: str, own: str, config: Config) -> bool:
    """`own` is the row's answer."""
    answer = extract_answer(text)
    return bool(answer) and (not config.check_answers or _content(answer) == _content(extract_answer(own)))


def _content(answer: str | None) -> Any:
    """What an answer says: a JSON value, or words without regard to case and spacing."""
    try:
        return json.loads(answer or "")
    except ValueError:
        return " ".join((answer or "").casefold().split())
