"""How fast drafts are scored, against the straightforward way: prints the table of the README's method section.

    python tests/bench/scoring_speed.py [ROUNDS] [EXAMPLE_TOKENS …]         default 3 rounds, 250 and 900
    ONLY=llama,hf python tests/bench/scoring_speed.py                       these ways beside `generate`

The embedded student in float32, 40 exam items of about 60 tokens behind one example, 48 generated tokens, one thread.
Every way has a process of its own, so that its peak memory is its own, and all take turns in every round. Times are of
the processor, not of the clock: others may be at work on the machine. Run it with `taskset -c N`.

    generate         transformers' `generate` on the full prompt of every request, 40 together: the straightforward way
    hf, llama        the engines, 40 together, llama with the 16-bit float GGUF of the same weights
    answer_loglik    `<ans>ANSWER</ans>` scored in place of 48 generated tokens, by either engine
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import click

from edgedistill import models, recipe
from edgedistill.engine import Messages, user
from edgedistill.engines import hf, llama
from edgedistill.exporters import gguf
from edgedistill.files import read_rows
from edgedistill.models import Model
from edgedistill.prompts import OPENER, Example, extract_answer, plain_prompt
from edgedistill.table import lines
from edgedistill.task import Item

ITEMS, QUESTION_TOKENS, NEW_TOKENS = 40, 60, 48
ALL_WAYS = ("hf", "llama", "answer_loglik hf", "answer_loglik llama")
WAYS = ("generate", *(way for way in ALL_WAYS if way in os.environ.get("ONLY", ",".join(ALL_WAYS)).split(",")))
GOALS = {"hf": 1.25, "llama": 4.0, "answer_loglik hf": 10.0, "answer_loglik llama": 10.0}

Asked = list[tuple[Messages, str]]
"""Conversations, each with its item's right answer."""


def main(rounds: int, sizes: list[int]) -> None:
    made = recipe.load("quickstart")
    student = models.resolve(made.student, made.folder, "student")
    with tempfile.TemporaryDirectory() as folder:
        gguf.export(Path(folder), student, gguf.Config(quants=("F16",)))
        file = Path(folder) / "model-f16.gguf"
        for size in sizes:
            _compare(student.path, file, size, rounds)


def _compare(student: Path, file: Path, size: int, rounds: int) -> None:
    asked, tokens = _requests(student, size)
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for way in WAYS:
        pipes[way], theirs = context.Pipe()
        workers.append(context.Process(target=_work, args=(way, student, file, asked, theirs)))
        workers[-1].start()
        pipes[way].recv()  # loaded and warm
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            pipes[way].send("go")
            seconds[way].append(pipes[way].recv())
    ends = {}
    for way in WAYS:
        pipes[way].send("end")
        ends[way] = pipes[way].recv()
    for worker in workers:
        worker.join()
    _print(size, tokens, seconds, ends, len(asked))


def _print(size: int, tokens: float, seconds: dict[str, list[float]], ends: dict[str, Any], count: int) -> None:
    expected = ends["generate"]["answers"]
    rows = []
    for way in WAYS:
        ratios = [base / own for base, own in zip(seconds["generate"], seconds[way], strict=True)]
        answers, goal = ends[way]["answers"], GOALS.get(way)
        rows.append(
            (
                way,
                f"{count / median(seconds[way]):.1f}",
                f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                f">= {goal:g}" if goal else "",
                f"{ends[way]['peak_mib']:.0f}",
                f"{sum(a == b for a, b in zip(expected, answers, strict=True)) / count:.1%}" if answers else "",
                f"{_graded_alike(expected, answers):.1%}" if answers else "",
            )
        )
    head = f"example {size} tokens: prompts of {tokens:.0f}, {NEW_TOKENS} new, {count} requests"
    print(f"\n{head}; load {os.getloadavg()[0]:.1f}")
    heads = ("way", "requests/s", "times generate", "goal", "peak MiB", "equal texts", "equal answers")
    print(click.unstyle("\n".join(lines(heads, rows))), flush=True)


def _graded_alike(expected: list[str], answers: list[str]) -> float:
    same = [extract_answer(_first(a)) == extract_answer(_first(b)) for a, b in zip(expected, answers, strict=True)]
    return sum(same) / len(same)


def _first(text: str) -> str:
    """Up to the end of the first answer: what follows is never read."""
    return "".join(text.partition("</ans>")[:2])


def _requests(student: Path, size: int) -> tuple[Asked, float]:
    """The navigate items closest to QUESTION_TOKENS tokens, behind one example of about `size`: solved seeds."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(student)

    def long(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    folder = student.parent.parent / "families" / "navigate"
    items = [Item(**row) for row in read_rows(folder / "validation.jsonl")]
    items = sorted(items, key=lambda item: abs(long(item.question) - QUESTION_TOKENS))[:ITEMS]
    seeds = [Item(**row) for row in read_rows(folder / "seeds.jsonl")] * 2
    shown = ""
    for seed in seeds:
        solved = f"{seed.question}\nAnswer: {OPENER} {seed.rationale}"
        joined = f"{shown}\n\nQuestion: {solved}" if shown else solved
        if shown and abs(long(joined) - size) > abs(long(shown) - size):
            break
        shown = joined
    question, _, rationale = shown.partition(f"\nAnswer: {OPENER} ")
    description = "Say whether the instructions lead back to the starting point."
    texts = [plain_prompt(description, item.question, (Example(question, rationale),)) for item in items]
    asked = [(user(text), item.answer) for text, item in zip(texts, items, strict=True)]
    return asked, sum(map(long, texts)) / len(texts)


def _work(way: str, student: Path, file: Path, asked: Asked, pipe: Connection) -> None:
    """One way in its own process: answers `go` with the seconds of the processor, `end` with the rest."""
    run = _way(way, student, file, [conversation for conversation, _ in asked], [answer for _, answer in asked])
    found = run()
    pipe.send("ready")
    while pipe.recv() == "go":
        begun = time.process_time()
        found = run()
        pipe.send(time.process_time() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send({"answers": found if way in ("generate", "hf", "llama") else [], "peak_mib": peak})


def _way(
    way: str, student: Path, file: Path, conversations: list[Messages], right: list[str]
) -> Callable[[], list[Any]]:
    if way == "generate":
        return _straightforward(student, conversations)
    engine: Any
    if way.endswith("llama"):
        engine = llama.open_file(file, context=2048, threads=1)
        engine._weights.end_ids = frozenset()  # every answer takes all its tokens
    else:
        engine = hf.open_engine(Model(student, "student"))
        engine.decoder.end_ids = frozenset()
        engine.decoder.limits = replace(engine.decoder.limits, rows=ITEMS)
    if way.startswith("answer_loglik"):
        options = [f"<ans>{answer}</ans>" for answer in ("Yes", "No")] * len(right)
        asked = [conversation for conversation in conversations for _ in ("Yes", "No")]
        return lambda: engine.answer_log_probs(asked, options)  # type: ignore[no-any-return]
    return lambda: engine.generate(conversations, max_tokens=NEW_TOKENS)  # type: ignore[no-any-return]


def _straightforward(student: Path, conversations: list[Messages]) -> Callable[[], list[str]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(student, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None

    def run() -> list[str]:
        texts = [
            tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
            for messages in conversations
        ]
        answers: list[str] = []
        for begin in range(0, len(texts), ITEMS):
            batch = tokenizer(texts[begin : begin + ITEMS], return_tensors="pt", padding=True, add_special_tokens=False)
            batch.pop("token_type_ids", None)
            with torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
            new = out[:, batch["input_ids"].shape[1] :]
            answers += tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return answers

    return run


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:]]
    main(given[0] if given else 3, given[1:] or [250, 900])
