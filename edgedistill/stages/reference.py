"""The float student, in torch: what every candidate is held against, and how far one is from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from edgedistill import accuracy, golden, in_grammar, multiple_choice, perplexity, prompts, shift
from edgedistill.accuracy import Questions, Taken
from edgedistill.engine import Messages, open_engine
from edgedistill.errors import UsageError
from edgedistill.files import read_rows, write_rows
from edgedistill.generic_prompts import PROMPTS
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.perplexity import Reading, Text
from edgedistill.sections import ValidateConfig
from edgedistill.shift import HeldOut
from edgedistill.task import Task
from edgedistill.toolchain import tokenization

NAME = "tuned"
"""Of its answers' files."""


@dataclass(frozen=True)
class Reference:
    """What the float student does."""

    model: Model
    golden: list[golden.GoldenCase]
    along: HeldOut
    """Its distributions at every position of the golden answers."""
    taken: Taken
    held_out: HeldOut
    habits: dict[str, str]
    """What its tokenizer does to a text, and a runtime does not: compose Unicode, merge spaces."""
    public: dict[str, Any]
    """Its figures on the harness's tasks."""
    context: int
    """Tokens that the app reserves, at most those that it was trained for."""
    reading: Reading | None = None
    """Of the running text, where there is no task."""
    left_out: tuple[str, ...] = ()
    """Odd golden cases that it cannot be asked."""

    @property
    def answer_tokens(self) -> float:
        """Usual length of an answer, the token that ends it included."""
        lengths = sorted(len(answer) + 1 for _, answer in self.held_out.rows)
        return float(lengths[len(lengths) // 2])

    @property
    def prompt_tokens(self) -> int:
        """Usual length of a golden case's prompt."""
        return sorted(len(case.token_ids) for case in self.golden)[len(self.golden) // 2]


def of(
    out: Path,
    student: Model,
    tasks: Sequence[Task],
    text: Text | None,
    questions: Questions,
    config: ValidateConfig,
    seed: int,
) -> Reference:
    """Ask the float student everything that the candidates will be asked.

    Leaves  golden.jsonl; answers/tuned.jsonl
    """
    path = out / "golden.jsonl"
    with open_engine(student) as opened:
        engine: Any = opened
        plain = _golden_questions(tasks, config.golden_cases + golden.SPARE, seed) or PROMPTS
        asked = golden.conversations(plain, config.golden_cases)
        if not path.is_file():
            size = {"count": config.golden_cases, "max_tokens": config.max_tokens, "context": config.context}
            cases = golden.make(asked, engine, **size)
            write_rows(path, [vars(case) for case in cases])
        kept = golden.from_rows(list(read_rows(path)))
        if len(kept) < config.golden_cases:
            say(f"  warning: the student can be asked {len(kept)} golden cases only, of {config.golden_cases}")
        return Reference(
            model=student,
            golden=kept,
            left_out=tuple(golden.left_out(asked, kept)),
            along=shift.along(engine, [(case.messages, case.answer or []) for case in kept]),
            taken=taken(out, NAME, engine, questions, config),
            held_out=shift.held_out(
                engine,
                _held_out_conversations(questions, kept, seed),
                max_tokens=config.max_tokens,
                positions=config.held_out_tokens,
            ),
            context=min(config.context, engine.context),
            habits=tokenization.habits(engine.as_read),
            public=public(out, NAME, engine, config),
            reading=perplexity.read(text, engine, config.context) if text else None,
        )


def _golden_questions(tasks: Sequence[Task], count: int, seed: int) -> list[str]:
    """Plain prompts of validation items, drawn from all tasks in turn."""
    drawn = []
    for task in tasks:
        items = Random(f"{seed}/golden/{task.name}").sample(task.validation, min(count, len(task.validation)))
        drawn.append([prompts.plain_prompt(task.info.description, item.question) for item in items])
    return [row[n] for n in range(count) for row in drawn if n < len(row)][:count]


def _held_out_conversations(questions: Questions, cases: Sequence[golden.GoldenCase], seed: int) -> list[Messages]:
    """Test items in an order drawn by lot, so that each task has its share; without a task the golden cases."""
    said = questions.conversations or [case.messages for case in cases]
    return Random(f"{seed}/held out").sample(said, len(said))


def taken(out: Path, name: str, engine: Any, questions: Questions, config: ValidateConfig) -> Taken:
    """One model's answers to the test items, in every way that the items and its runtime allow."""
    free = accuracy.answer(out, name, engine, questions)
    within = in_grammar.answer(out, name, engine, questions, free) if config.grammar else None
    return Taken(free, multiple_choice.choose(out, name, engine, questions), within)


def public(out: Path, name: str, engine: Any, config: ValidateConfig) -> dict[str, Any]:
    """One model's figures on the harness's tasks. Raises UsageError where the harness is not installed."""
    if not config.lm_eval:
        return {}
    if find_spec("lm_eval") is None:
        raise UsageError(
            "validate.lm_eval: the lm-evaluation-harness is not installed", "`pip install edgedistill[lm-eval]`"
        )
    from edgedistill.ml import harness

    found: dict[str, Any] = harness.run(out, name, engine, config.lm_eval, config.lm_eval_items)
    return found
