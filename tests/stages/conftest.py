"""A small task, and scripted engines that stand in for a teacher and a student."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgedistill import plan, shards, task
from edgedistill.artifacts import Candidates, Measurements
from edgedistill.engine import Messages
from edgedistill.files import write_rows
from edgedistill.models import Model
from edgedistill.perplexity import Text
from edgedistill.recipe import Budgets
from edgedistill.sections import ValidateConfig
from edgedistill.stages.evaluate import evaluate
from edgedistill.stages.validate import validate
from edgedistill.target import Target
from edgedistill.task import Task

MODEL = Model(Path("nowhere"), "scripted")


class Scripted:
    """An engine whose answers come from a function of (prompt, random numbers of that row).

    It proves what a stage asks, keeps, counts and continues from; it does not prove that a model can write. Like a real
    engine it depends on nothing but its arguments. `dies_at` kills the process, as the kernel would, at that call.
    """

    def __init__(self, answer: Callable[[str, Random], str], dies_at: int | None = None) -> None:
        self.answer, self.dies_at, self.calls = answer, dies_at, list[dict[str, Any]]()

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        stop: str = "",
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        if len(self.calls) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        prompts = [messages[-1]["content"] for messages in conversations]
        self.calls.append({"prompts": prompts, "temperature": temperature, "max_tokens": max_tokens, "stop": stop})
        on_done(len(prompts))
        rows = enumerate(prompts)
        return [self.answer(prompt, Random(f"{seed} {row}" if temperature else prompt)) for row, prompt in rows]

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def asked(self, word: str) -> list[str]:
        """The prompts so far that hold a word."""
        return [prompt for call in self.calls for prompt in call["prompts"] if word in prompt]


def teacher(prompt: str, random: Random) -> str:
    """Five blocks for a question prompt: two new ones, one not whole, one seed, one test question. Else a rationale.

    A rationale for a question that ends in 7 has no answer, one for a question that ends in 8 an empty one.
    """
    if "more questions" in prompt:
        new = [f"count to {random.randrange(10**6)}" for _ in range(2)]
        return "\n".join(
            [
                *(
                    f"<Question_{n}><input>{q}</input><target>{q.split()[-1]}</target></Question_{n}>"
                    for n, q in enumerate(new)
                ),
                "<Question_6><input>broken</input></Question_6>",
                "<Question_7><input>Seed  question 2</input><target>2</target></Question_7>",
                "<Question_8><input>test question 3</input><target>3</target></Question_8>",
            ]
        )
    question = re.findall(r"Question: (.*)\n", prompt)[-1]
    if question.endswith("7"):
        return "I do not know."
    answer = "" if question.endswith("8") else question.split()[-1]
    return f"  It is {random.randrange(1000)} steps. <ans>{answer}</ans>"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scripted], Scripted]:
    """Let stages open this engine, whatever model they are given."""

    def install(engine: Scripted) -> Scripted:
        monkeypatch.setattr(shards, "open_engine", lambda model: engine)
        return engine

    return install


@pytest.fixture
def counting_task(tmp_path: Path) -> Task:
    """Six seeds, 24 validation items with the answers 0 to 3 in unequal shares, six test items."""
    return make_task(tmp_path / "counting")


def make_task(folder: Path) -> Task:
    folder.mkdir(parents=True)
    about = 'kind: tagged_answer\ntitle: counting\ndescription: "Count."\nlicence: Apache-2.0\n'
    (folder / "task.yaml").write_text(about)
    for part, count in (("seed", 6), ("validation", 24), ("test", 6)):
        rows = [{"id": f"{part}-{n}", "question": f"{part} question {n}", "answer": str(n)} for n in range(count)]
        write_rows(folder / f"{'seeds' if part == 'seed' else part}.jsonl", rows)
    return task.load(folder)


def killed(run: Callable[[], object]) -> int | None:
    """Exit code of a process that does `run`: -9 when it was killed."""
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def resumes_after_every_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Path], object], Callable[[str, Random], str]], int]:
    """Run a stage undisturbed, then once for each of its engine calls with a kill there and a rerun; compare all bytes.

    Returns the number of kills.
    """

    def check(run: Callable[[Path], object], answer: Callable[[str, Random], str]) -> int:
        engine = Scripted(answer)
        monkeypatch.setattr(shards, "open_engine", lambda model: engine)
        run(_made(tmp_path / "undisturbed"))
        expected, calls = contents(tmp_path / "undisturbed"), len(engine.calls)
        for at in range(calls):
            out = _made(tmp_path / f"killed-{at}")
            engine = Scripted(answer, dies_at=at)
            assert killed(lambda out=out: run(out)) == -signal.SIGKILL
            engine = Scripted(answer)
            run(out)
            assert contents(out) == expected
            assert len(engine.calls) == calls - at, "a finished shard was made again"
        return calls

    return check


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def model() -> Model:
    return MODEL


@pytest.fixture
def scripted_teacher() -> Callable[[str, Random], str]:
    return teacher


@pytest.fixture
def new_engine() -> type[Scripted]:
    return Scripted


@pytest.fixture
def judged() -> Callable[..., Measurements]:
    """(out, candidates, student, base, tasks, text, target, budgets, config) -> Measurements: `evaluate` into `out` and
    then `validate` into `out/device`, as build.py runs them."""

    def run(
        out: Path,
        candidates: Candidates,
        student: Model,
        base: Model,
        tasks: list[Task],
        text: Text | None,
        target: Target,
        budgets: Budgets,
        config: ValidateConfig,
    ) -> Measurements:
        hopeless = plan.hopeless(candidates, student, target, budgets, config.context, None)
        found = evaluate.function(out, candidates, student, base, tasks, text, config, 5, None, tuple(hopeless))
        (out / "device").mkdir(exist_ok=True)
        how = (target, budgets, config, 5, None, None, hopeless)
        return validate.function(out / "device", found, candidates, student, tasks, *how)

    return run
