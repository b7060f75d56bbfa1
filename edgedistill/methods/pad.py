"""Preference-aligned distillation: the student learns to rank its own responses as the teacher does.

The student draws responses to each prompt, n of them that differ are kept, and the teacher scores them once
(appraisal.py). Then the student is trained so that the ranking of these by its own mean log-probability follows the
teacher's. No reference model. Behind `sft` (`distill: [{method: sft}, {method: pad}]`) it starts from a student that
can answer at all.

Source  PAD, arXiv:2502.14272, and github.com/EganGu/PAD at 89f2a91. From there: 5 samples of which 4 are kept,
        temperature 1, top-p 0.95, beta 10, learning rate 8e-7, cosine, 10% warm-up, 1 epoch, 128 prompts a step. Groups
        for larger n and the share of `sft_weight` are ours: the paper's are not known. The code drops a prompt unless
        the teacher's choice probability is above 0.5 for one of its responses and not for another; here none is
        dropped for what the teacher thinks of its responses
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgedistill import appraisal, responses
from edgedistill import tutors as teaching
from edgedistill.errors import StageFailed
from edgedistill.files import write_rows
from edgedistill.learning import TutoredConfig
from edgedistill.models import Model
from edgedistill.responses import Sampling
from edgedistill.sections import Asks
from edgedistill.shards import Row, in_shards, on_demand, seed_of
from edgedistill.tutors import Tutor

if TYPE_CHECKING:
    from edgedistill.ml.ranking import Group

VERSION = 2  # 2: the end of a response is ranked too

_PROMPTS = 32
"""Of one shard of scores."""


class Config(TutoredConfig):
    """Options of `method: pad`."""

    loss: Literal["ppd", "vpd", "ppd_released"] = "ppd"
    """`ppd`: Jensen-Shannon divergence of the ranking distributions. `vpd`: likelihood of the teacher's one ranking.
    `ppd_released`: what the released code computes in place of `ppd`, for comparison."""
    samples: Annotated[int, Field(ge=2)] = 5
    """Responses that the student draws to each prompt (PAD: 5)."""
    responses: Annotated[int, Field(ge=2)] = 4
    """Of these are kept, far from each other (PAD: 4). Prompts without as many different ones are dropped, counted."""
    group: Annotated[int, Field(ge=2, le=6)] | None = None
    """With more responses: how many are ranked together, since n responses have n! rankings; each epoch splits them
    anew. None: all, for up to 6."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Of the samples (PAD's code: 1.0)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The fewest likeliest tokens that together reach this are drawn from (PAD: 0.95)."""
    max_answer_tokens: Annotated[int, Field(ge=4)] = 256
    """Room for one response."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the teacher's mean log-probability in its score; the rest is its choice between two responses. PAD's
    code: 0.5 by default, 0 in the released run. A teacher too small to choose between A and B needs 1."""
    beta: Annotated[float, Field(gt=0)] = 10.0
    """Scale of the student's scores, in nats per token, in the odds of a ranking (PAD: 10)."""
    teacher_beta: Annotated[float, Field(gt=0)] | None = None
    """The teacher's. None: the same, as in PAD. Lower it where counts.json shows a `teacher_entropy` near 0: the
    teacher then knows one ranking only."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the cross-entropy of the row's own answer, in nats per token (PAD: 0)."""
    learning_rate: Annotated[float, Field(gt=0)] = 8.0e-7
    """Highest learning rate (PAD: 8e-7, for 2 billion parameters). A few million parameters take up to 1e-4."""
    batch: Annotated[int, Field(ge=1)] = 128
    """Groups of responses per optimizer step (PAD: 128)."""
    device_batch: Annotated[int, Field(ge=1)] | None = 8
    """Groups that go through the model at once. Lower it when memory runs out."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps with rising learning rate, then a cosine (PAD: 0.1)."""
    decay: ClassVar[str] = "cosine"

    @property
    def together(self) -> int:
        """Responses that are ranked together."""
        return self.group or self.responses

    @property
    def scales(self) -> tuple[float, float]:
        """Of the student's and the teacher's scores."""
        return self.beta, self.teacher_beta or self.beta

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.samples, self.temperature, self.top_p, self.max_answer_tokens)

    @property
    def why_no_server(self) -> str | None:
        return "it asks how likely given texts are"

    @property
    def asks(self) -> Asks:
        n = self.responses
        scores = (n if self.alpha > 0 else 0) + (3 * n * (n - 1) if self.alpha < 1 else 0)
        return Asks(n + (1 if self.sft_weight else 0), self.samples, teacher_scores=scores)

    @model_validator(mode="after")
    def _responses_come_in_groups(self) -> Self:
        if self.samples < self.responses:
            raise ValueError(f"samples {self.samples} are fewer than responses {self.responses}")
        if self.group is None and self.responses > 6:
            raise ValueError(f"responses {self.responses} have too many rankings; set `group`, e.g. to 4")
        if self.responses % self.together:
            raise ValueError(f"responses {self.responses} is not a multiple of group {self.group}")
        return self


def train(
    out: Path, rows: list[tuple[str, str]], student: Model, config: Config, seed: int, tutors: Sequence[Tutor] = ()
) -> dict[str, Any]:
    """Draw the student's rankings of its own responses towards its tutors'. Each prompt has one tutor.

    Leaves  model/, curve.jsonl with teacher_entropy (nats) and agreement on the best response (0-1), responses.jsonl:
            prompt, tutor, responses, teacher_log_probs, teacher_choices, scores, neither (0-1)
    Returns prompts trained on, prompts left out as too long, with too few different responses (too_alike), steps,
            tokens that the student read, the means of teacher_entropy and neither
    Raises  StageFailed when no prompt is left, or the loss is no longer a number
    """
    assert tutors, "pad needs a tutor"
    prompts = [prompt for prompt, _ in rows]
    samples = responses.drawn(out, prompts, student, config.sampling, seed)
    chosen = [(row, kept) for row, own in enumerate(samples) if (kept := responses.spread(own, config.responses))]
    scored = _scored(out, [(prompts[row], kept) for row, kept in chosen], config, seed, tutors)
    write_rows(out / "responses.jsonl", scored)
    if not chosen:
        raise StageFailed(
            f"distill: to none of {len(rows):,} prompts has the student {config.responses} different responses",
            "raise `distill.temperature` or `distill.samples`, or lower `distill.responses`",
        )
    groups, places, too_long = _groups([rows[row] for row, _ in chosen], scored, student, config, seed)
    from edgedistill.ml.lessons import learn
    from edgedistill.ml.ranking import Ranking

    lesson = Ranking(groups, config.loss, config.scales, config.sft_weight)
    lengths = [max(map(len, group.answers)) for group in groups]
    # Groups that change from epoch to epoch are all there already.
    passes = config if config.together == config.responses else config.model_copy(update={"epochs": 1})
    learned = learn(out, student, lesson, lengths, passes, seed)
    return {
        "rows": places,
        "too_long": too_long,
        "too_alike": len(rows) - len(chosen),
        **learned,
        **_told(groups, scored, config),
    }


def _scored(
    out: Path, asked: list[tuple[str, list[str]]], config: Config, seed: int, tutors: Sequence[Tutor]
) -> list[Row]:
    """The responses with the teacher's scores, prompt by prompt; tutors are opened one after another."""

    def of_one(tutor: Tutor, number: int, own: list[tuple[str, list[str]]]) -> list[Row]:
        with on_demand(tutor.model, out) as opened:

            def make(part: Sequence[tuple[str, list[str]]], at: int, advance: Callable[[int], None]) -> list[Row]:
                texts, kept = [text for text, _ in part], [responses for _, responses in part]
                scores = appraisal.appraise(opened(), texts, kept, config.alpha, advance)
                return [_row(*one, number, score, config) for one, score in zip(part, scores, strict=True)]

            return in_shards(out / "shards" / "scores" / str(number), own, _PROMPTS, "scores", make)

    return teaching.in_turns(tutors, asked, seed, of_one)


def _row(prompt: str, texts: list[str], tutor: int, found: appraisal.Appraisal, config: Config) -> Row:
    return {
        "prompt": prompt,
        "tutor": tutor,
        "responses": texts,
        "teacher_log_probs": [round(value, 6) for value in found.log_probs],
        "teacher_choices": [round(value, 6) for value in found.choices],
        "scores": [round(value, 6) for value in found.scores(config.alpha)],
        "neither": None if found.neither is None else round(found.neither, 6),
    }


def _groups(
    rows: list[tuple[str, str]], scored: list[Row], student: Model, config: Config, seed: int
) -> tuple[list[Group], int, int]:
    """The groups, of all epochs where they change; how many prompts they are of; how many prompts are too long.

    A response that came to its end has the end-of-turn token, so that stopping is ranked and learned as well; one that
    was cut off has none. The teacher's scores are of the text alone.
    """
    from edgedistill.ml.ranking import Group
    from edgedistill.ml.turns import Turn, end_ids, load_tokenizer, turns

    tokenizer = load_tokenizer(student.path)
    ends = end_ids(student.path, tokenizer)
    taught = turns(tokenizer, ends, rows)
    groups: list[Group] = []
    too_long = 0
    for number, (turn, row) in enumerate(zip(taught, scored, strict=True)):
        ids = tokenizer(row["responses"], add_special_tokens=False)["input_ids"]
        answers = [
            Turn(turn.prompt_ids, [*own, ends[0]] if responses.came_to_an_end(len(own), config.sampling) else own)
            for own in ids
        ]
        if max(map(len, (*answers, turn))) > config.max_tokens:
            too_long += 1
            continue
        order = list(range(len(answers)))
        splits = config.epochs if config.together < len(order) else 1
        for split in range(splits):
            if config.together < len(order):
                Random(seed_of(seed, "groups", number, split)).shuffle(order)
            for start in range(0, len(order), config.together):
                part = order[start : start + config.together]
                scores = tuple(row["scores"][place] for place in part)
                groups.append(Group(tuple(answers[place] for place in part), scores, turn))
    if not groups:
        raise StageFailed(
            f"distill: the responses to all {len(rows):,} prompts are longer than {config.max_tokens} tokens",
            "raise `distill.max_tokens`",
        )
    return groups, len(rows) - too_long, too_long


def _told(groups: list[Group], scored: list[Row], config: Config) -> dict[str, Any]:
    """How decided the teacher is, for counts.json."""
    from edgedistill.ml.ranking import teacher_entropy

    entropy = teacher_entropy(groups, config.scales[1])
    neither = [row["neither"] for row in scored if row["neither"] is not None]
    told: dict[str, Any] = {"teacher_entropy": round(entropy, 4)}
    note = f"teacher's entropy {entropy:.2f} nats"
    if neither:
        told["neither"] = round(fmean(neither), 4)
        note += f", `None` {fmean(neither):.2f}"
    return {**told, "note": note}
