"""Sequence-level distillation: teachers answer the prompts of the tailored rows, and the student learns the answers.

    L = - sum over answers y of  q(y | x) log p(y | x)

is estimated by answers that the teachers draw. At temperature 0 it is the paper's: the likeliest answer stands for all;
with the recipe's own teacher alone that is what the tailored rows say already, and `sft` learns it. Only text is asked
of a teacher, so any engine and any tokenizer will do.

Source  Kim and Rush 2016, arXiv:1606.07947v4, eq. 5 and sec. 3.2; several teachers, one per prompt: SKDBERT,
        arXiv:2211.14466
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from edgedistill import tutors as teaching
from edgedistill.engine import user
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.learning import TutoredConfig
from edgedistill.log import progress
from edgedistill.methods import sft
from edgedistill.models import Model
from edgedistill.prompts import extract_answer
from edgedistill.sections import Asks
from edgedistill.shards import Row, on_demand, seed_of, shard, shard_path
from edgedistill.tutors import Tutor

VERSION = 1

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
    """Room for one answer. One without `<ans>…</ans>` by then is dropped and counted."""

    @property
    def asks(self) -> Asks:
        return Asks(sequences=self.answers, teacher_answers=self.answers)


def train(
    out: Path, rows: list[tuple[str, str]], student: Model, config: Config, seed: int, tutors: Sequence[Tutor] = ()
) -> dict[str, Any]:
    """Let the tutors answer the rows' prompts, one tutor for each prompt, and teach the student their answers.

    Leaves  model/, curve.jsonl, and answers.jsonl: prompt, answer, tutor (its place among them), kept
    Raises  StageFailed when no answer can be used
    """
    assert tutors, "seqkd needs a tutor"
    prompts = [prompt for prompt, _ in rows for _ in range(config.answers)]
    written = _answers(out, prompts, config, seed, tutors)
    write_rows(out / "answers.jsonl", written)
    kept = [(row["prompt"], row["answer"]) for row in written if row["kept"]]
    if not kept:
        raise StageFailed(
            f"distill: none of {len(written):,} answers of the teachers has <ans>…</ans>",
            "raise `distill.max_answer_tokens`, or lower `distill.temperature`",
        )
    counts = sft.train(out, kept, student, config, seed)
    return {**counts, "unusable": len(written) - len(kept)}


def _answers(out: Path, prompts: list[str], config: Config, seed: int, tutors: Sequence[Tutor]) -> list[Row]:
    """One row per prompt, in order; tutors are opened one after another."""
    found: dict[int, Row] = {}
    for number, tutor, own in teaching.shared(tutors, len(prompts), seed):
        rows = _answers_of(tutor, number, out, [prompts[place] for place in own], config, seed)
        found |= dict(zip(own, rows, strict=True))
    return [found[place] for place in range(len(prompts))]


def _answers_of(tutor: Tutor, number: int, out: Path, prompts: list[str], config: Config, seed: int) -> list[Row]:
    """Those of one tutor, in shards."""
    parts = [prompts[start : start + _SHARD] for start in range(0, len(prompts), _SHARD)]
    folder = out / "shards" / "answers" / str(number)
    done = sum(len(part) for at, part in enumerate(parts) if shard_path(folder, at).is_file())
    found: list[Row] = []
    with on_demand(tutor.model, out) as opened, progress("answers", len(prompts), done) as advance:
        for at, part in enumerate(parts):

            def make(part: list[str] = part, at: int = at) -> list[Row]:
                texts = opened().generate(
                    [user(prompt) for prompt in part],
                    max_tokens=config.max_answer_tokens,
                    temperature=config.temperature,
                    top_p=config.top_p,
                    seed=seed_of(seed, "seqkd", number, at),
                    on_done=advance,
                )
                return [
                    {"prompt": prompt, "answer": text, "tutor": number, "kept": _is_usable(text)}
                    for prompt, text in zip(part, texts, strict=True)
                ]

            found += shard(folder, at, make)
    return found


def _is_usable(text: str) -> bool:
    return bool(extract_answer(text))
