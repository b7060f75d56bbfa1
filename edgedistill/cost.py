"""What a recipe costs: calls and tokens of every stage, counted before anything runs, and time on an accelerator.

Calls are counted as the stages make them when every question and answer is usable the first time. Tokens take the
lengths of the task's seeds, at four characters per token, or those that the recipe assumes for a task without items.
What a draft's exam items have in common is read once (prefix reuse).

    reading     2 operations per weight and token                          at a share of the peak
    writing     per step of a batch the longest of: reading all weights and the batch's cache, 2 operations per weight
                and row, and the time that it takes to launch a step's kernels
    training    2 operations per weight and token for each pass; forward 1, backward 2, or 1 where weights are frozen;
                at least the time that it takes to launch the kernels of each batch

Packaging, validation and the target's part are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from edgedistill import plan
from edgedistill.accelerators import Accelerator
from edgedistill.models import Shape
from edgedistill.predictor.estimate import Estimate
from edgedistill.prompts import ANSWER_RULE, OPENER
from edgedistill.recipe import Recipe
from edgedistill.sections import DistillConfig
from edgedistill.task import Task

CHARACTERS_PER_TOKEN = 4
"""Of English in the vocabularies of Llama, Qwen and Gemma; the embedded pair's measures 3.5 to 4.0 on its families."""
COMPUTE_SHARE = 0.3
"""Of the peak that matrices reach. Llama 3's own training reached 0.38 to 0.43 (arXiv:2407.21783, sec. 3.3.2); short
rows in transformers do worse."""
READ_SHARE = 0.5
"""Of the memory rate's peak that decoding reaches in torch; our assumption."""
LAUNCH_S = 0.001
"""Per layer and step: some ten kernels each, launched from Python; our assumption."""
HOURS_FACTOR = 3.0
"""The interval, each way. None of the three shares above was measured with this tool."""

_ROWS = 512
_CACHE_BYTES = 8 << 30
"""Most rows that are decoded together, and the memory for their keys and values: as in ml/decode.py on a GPU."""
_TAGS = 10
"""Tokens around one question in the tagged form."""
_LABEL = 4
"""Tokens of an answer that is given and not written: what `answer_loglik` reads."""
_WITH_REFERENCE = 4
"""Passes of full alignment: forward 1, backward 2, and 1 before it, in which the same weights are the reference."""


@dataclass(frozen=True)
class Lengths:
    """Tokens, on average."""

    head: float
    """Description and rules of a prompt."""
    question: float
    rationale: float


@dataclass(frozen=True)
class Work:
    """One kind of work in one stage, all tasks together."""

    stage: str
    what: str
    role: str
    """`teacher` or `student`"""
    calls: int
    """Answers that are generated or scored, or rows that are trained on."""
    read: float
    """Prompt tokens that are computed."""
    written: float
    """Tokens that are generated; for training, 0."""
    passes: float = 1
    """Forward passes that the tokens cost: more than 1 for training."""
    kind: str = "generate"
    """`generate`, or how is trained: `full`, `lora`, `qlora`"""
    devices: int = 1
    batches: int = 0
    """Of rows that training puts through the model at once."""
    detail: str = ""
    """How the calls of one task come about, where that is more than a number of the recipe."""


def lengths_of(task: Task, recipe: Recipe) -> Lengths:
    """From the task's seeds; where it has none, or none with a rationale, as the recipe assumes."""
    head = (len(task.info.description) + len(ANSWER_RULE) + len(OPENER) + 40) / CHARACTERS_PER_TOKEN
    seeds = task.seeds if task.has_items else ()
    solved = [seed.rationale for seed in seeds if seed.rationale]
    question = fmean(len(seed.question) for seed in seeds) / CHARACTERS_PER_TOKEN if seeds else None
    rationale = fmean(map(len, solved)) / CHARACTERS_PER_TOKEN if solved else None
    return Lengths(head, question or recipe.cost.question_tokens, rationale or recipe.cost.rationale_tokens)


def count(recipe: Recipe, tasks: Sequence[Task]) -> list[Work]:
    """The work of the line up to the student, stage by stage, in its order."""
    of_tasks = [_of_task(recipe, task, lengths_of(task, recipe)) for task in tasks]
    return [_together(same) for same in zip(*of_tasks, strict=True)]


def _together(same: tuple[Work, ...]) -> Work:
    summed = {name: sum(getattr(work, name) for work in same) for name in ("calls", "read", "written", "batches")}
    details = {work.detail for work in same}
    return replace(same[0], **summed, detail=details.pop() if len(details) == 1 else "")


def _of_task(recipe: Recipe, task: Task, lengths: Lengths) -> list[Work]:
    found: list[Work] = []
    if recipe.prefer and recipe.align:
        found += _drafts(recipe, task, lengths) + _exam(recipe, task, lengths) + _alignment(recipe, lengths)
    tailor = recipe.tailor
    return [
        *found,
        _questions("tailor", tailor.rows, tailor.per_prompt, tailor.same_seeds, lengths),
        _answers("tailor", tailor.rows, lengths, tailor.max_rationale_tokens),
        *(work for config in recipe.distill for work in _training(recipe, config, lengths)),
    ]


def _drafts(recipe: Recipe, task: Task, lengths: Lengths) -> list[Work]:
    elicit = recipe.elicit
    answers = elicit.questions * len(elicit.styles_of(task.name))
    return [
        _questions("elicit", elicit.questions, elicit.per_prompt, elicit.same_seeds, lengths),
        _answers("elicit", answers, lengths, elicit.max_rationale_tokens),
    ]


def _questions(stage: str, wanted: int, per_prompt: int, same_seeds: int, lengths: Lengths) -> Work:
    prompts = math.ceil(wanted / per_prompt)
    encoded = math.ceil(prompts / same_seeds)
    written = wanted * (lengths.question + _TAGS)
    return Work(stage, "question prompts", "teacher", prompts, encoded * _question_prompt(lengths), written)


def _question_prompt(lengths: Lengths) -> float:
    return lengths.head + 3 * (lengths.question + _TAGS)


def _answers(stage: str, wanted: int, lengths: Lengths, room: int) -> Work:
    written = min(lengths.rationale, room)
    return Work(stage, "rationales", "teacher", wanted, wanted * (lengths.head + lengths.question), wanted * written)


def _exam(recipe: Recipe, task: Task, lengths: Lengths) -> list[Work]:
    """Every draft on every exam item, or the share of it that racing may spend; and the respondents of an IRT exam."""
    prefer = recipe.prefer
    assert prefer
    drafts = recipe.elicit.questions * len(recipe.elicit.styles_of(task.name))
    calls = round(drafts * prefer.exam_size * prefer.budget)
    spent = f" x {prefer.budget:g}, the most that racing may spend" if prefer.budget < 1 else ""
    is_written = hasattr(prefer, "max_tokens")  # a signal that lets the student answer says how long
    written = min(lengths.rationale, getattr(prefer, "max_tokens", 0))
    read = drafts * (lengths.head + lengths.question + lengths.rationale) + calls * lengths.question
    scored = Work(
        "prefer",
        "student answers" if is_written else "answers scored",
        "student",
        calls,
        read if is_written else read + calls * _LABEL,
        calls * written,
        detail=f"{calls:,} for each task: {drafts:,} drafts x {prefer.exam_size} exam items{spent}",
    )
    return [scored, *_steps(recipe, drafts, lengths), *_respondents(recipe, task, lengths)]


def _steps(recipe: Recipe, drafts: int, lengths: Lengths) -> list[Work]:
    """The optimizer step on each draft, for a signal that takes one."""
    if not hasattr(recipe.prefer, "learning_rate"):
        return []
    read = drafts * (lengths.head + lengths.question + lengths.rationale)
    return [Work("prefer", "single steps", "student", drafts, read, 0, 3, "full")]


def _respondents(recipe: Recipe, task: Task, lengths: Lengths) -> list[Work]:
    """Student and other models answer every validation item, as if each were of the student's size."""
    prefer = recipe.prefer
    assert prefer
    if prefer.exam != "irt":
        return []
    # Without an example there is one way to be asked; with some, one for each draw of them.
    shots = [shot for shot in prefer.respondent_shots for _ in range(prefer.respondent_hands if shot else 1)]
    models = 1 + len(prefer.respondents)
    items = len(task.validation) if task.has_items else recipe.cost.validation_items
    calls = models * len(shots) * items
    shown = sum(lengths.head + shot * (lengths.question + lengths.rationale) for shot in shots)
    written = min(lengths.rationale, prefer.respondent_tokens)
    read = models * shown + calls * lengths.question
    return [Work("prefer", "respondents' answers", "student", calls, read, calls * written)]


def _alignment(recipe: Recipe, lengths: Lengths) -> list[Work]:
    """At most one pair per question on its rationales, and the question-level pairs; each pair is two rows."""
    prefer, align = recipe.prefer, recipe.align
    assert prefer and align
    questions = recipe.elicit.questions
    asked = questions // 4 if prefer.question_pairs == "quartile" else prefer.question_pairs
    of_questions = min(asked, questions // 2)
    rationale_row = lengths.head + lengths.question + lengths.rationale
    question_row = _question_prompt(lengths) + lengths.question + _TAGS
    tokens = 2 * (questions * rationale_row + of_questions * question_row) * align.epochs
    # The model forward and backward, and the reference forward once.
    passes = _WITH_REFERENCE if align.adapter == "full" else 3
    calls = questions + of_questions
    work = Work("align", "pairs, at most", "teacher", calls, tokens, 0, passes, align.adapter, align.processes)
    return [replace(work, batches=math.ceil(calls * align.epochs / align.chunk))]


def _training(recipe: Recipe, config: DistillConfig, lengths: Lengths) -> list[Work]:
    """One method: what it lets the student write, what it asks of teachers, and its training."""
    epochs = getattr(config, "epochs", 1)
    kind = "lora" if getattr(config, "lora_rank", None) else "full"
    rows, asks = recipe.tailor.rows, config.asks
    read = rows * (lengths.head + lengths.question + lengths.rationale)
    learned = asks.sequences * read * epochs
    work = Work("distill", "rows", "student", rows, learned, 0, 2 if kind == "lora" else 3, kind)
    made = [replace(work, batches=math.ceil(asks.sequences * rows * epochs / getattr(config, "chunk", rows)))]
    if asks.student_answers:
        calls = rows * asks.student_answers
        made.append(Work("distill", "student's answers", "student", calls, read, calls * lengths.rationale))
    if asks.teacher_answers:
        calls = rows * asks.teacher_answers
        made.append(Work("distill", "teacher's answers", "teacher", calls, read, calls * lengths.rationale))
    if asks.teacher_scores:
        calls = rows * asks.teacher_scores
        together = getattr(config, "teachers_beside", 0)
        told = f"{together} teachers are in memory at once, beside the student" if together > 1 else ""
        made.append(Work("distill", "texts scored", "teacher", calls, asks.teacher_scores * read, 0, detail=told))
    return made


def hours(work: Work, shape: Shape, on: Accelerator) -> Estimate:
    """Time of one kind of work with a model of that shape; generation uses one device, training what it asks for."""
    compute = on.tflops * 1e12 * COMPUTE_SHARE
    seconds = max(
        2 * shape.parameters * work.read * work.passes / (compute * work.devices),
        work.batches * work.passes * shape.layers * LAUNCH_S,
    )
    if work.written:
        length = work.written / work.calls
        cache = plan.kv_cache_bytes(shape, 1) * (work.read / work.calls + length)
        rows = max(1, min(_ROWS, work.calls, int(_CACHE_BYTES / cache)))
        step = max(
            (2 * shape.parameters + rows * cache) / (on.read_gb_s * 1e9 * READ_SHARE),
            2 * shape.parameters * rows / compute,
            LAUNCH_S * shape.layers,
        )
        seconds += math.ceil(work.calls / rows) * length * step
    value = seconds / 3600
    return Estimate(value, value / HOURS_FACTOR, value * HOURS_FACTOR)
