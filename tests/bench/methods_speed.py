"""What the training methods cost, as ratios within one run.

    python tests/bench/methods_speed.py [ROUNDS]        default 5 rounds

    ppd step         forward and backward of `pad` on 4 prompts with 4 responses each, against `sft` on the 16 sequences
    plackett-luce    ppd loss of 64 prompts with 5 responses, forward and backward, milliseconds
    topk_kd          step on 16 rows from the cache, against the same step with the teacher in it: `plain`, a forward
                     pass over the padded batch as trainers have it, and `engine`, which encodes shared beginnings once
    memory           what each adds to its process, MiB: every way in a process of its own
    teacher scores   PAD's two scores of 4 responses to each of 4 prompts: `engine`, which encodes shared beginnings
                     once, against `plain`, whole texts in padded batches

The embedded teacher and student. Ways take turns in every round. Times are of the processor, not of the clock: others
may be at work on the machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from edgedistill import models, recipe, task
from edgedistill.appraisal import NEITHER, OPTIONS, choice_prompt
from edgedistill.engine import Likeliest, open_engine, user
from edgedistill.methods import pad, topk_kd
from edgedistill.ml import weights
from edgedistill.ml.answer_logits import answer_logits, at_answers
from edgedistill.ml.answers import answer_columns, answer_loss
from edgedistill.ml.hint_shards import HintShards, path_of, write
from edgedistill.ml.lessons import Item
from edgedistill.ml.losses import own_log_probs, ppd_loss, top_kd_loss, with_rest
from edgedistill.ml.ranking import Group, Ranking
from edgedistill.ml.turns import IGNORED, Turn, end_ids, load_tokenizer, turns
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.spent import measured

ROWS, PROMPTS, RESPONSES, KEPT = 16, 4, 4, 32


def main(rounds: int) -> None:
    made = recipe.load("quickstart")
    home = task.load(made.folder / made.tasks[0])
    teacher, student = (models.resolve(getattr(made, role), made.folder, role) for role in ("teacher", "student"))
    items = home.validation[:ROWS]
    rows = [(plain_prompt(home.info.description, item.question), f"<ans>{item.answer}</ans>") for item in items]
    tokenizer = load_tokenizer(student.path)
    encoded = turns(tokenizer, end_ids(student.path, tokenizer), rows)
    _tell_ppd(student, encoded, rounds)
    _tell_plackett_luce(rounds)
    with tempfile.TemporaryDirectory() as folder:
        _write_hints(Path(folder), teacher, encoded)
        _tell_cache(Path(folder), teacher, student, encoded, rounds)
    _tell_scores(teacher, rows, rounds)


def _tell_scores(teacher: Model, rows: list[tuple[str, str]], rounds: int) -> None:
    prompts = [prompt for prompt, _ in rows[:PROMPTS]]
    texts = [text for _, text in rows]
    own = [texts[n * RESPONSES : (n + 1) * RESPONSES] for n in range(PROMPTS)]
    likely = [(prompt, text) for prompt, said in zip(prompts, own, strict=True) for text in said]
    choices = [
        (choice_prompt(prompt, *pair), letter)
        for prompt, said in zip(prompts, own, strict=True)
        for pair in permutations(said, 2)
        for letter in (*OPTIONS, NEITHER)
    ]
    model = weights.load(teacher, torch.float32, 512).eval()
    with open_engine(teacher) as engine:
        for name, asked in (("log-probabilities", likely), ("choices", choices)):
            ids = [engine.token_ids(user(prompt)) for prompt, _ in asked]
            said = engine.decoder.tokenizer([text for _, text in asked], add_special_tokens=False)["input_ids"]  # type: ignore[attr-defined]
            whole = [Turn(*both) for both in zip(ids, said, strict=True)]

            def shared(asked: list[tuple[str, str]] = asked) -> None:
                engine.answer_log_probs([user(prompt) for prompt, _ in asked], [text for _, text in asked])

            def plain(whole: list[Turn] = whole) -> None:
                with torch.no_grad():
                    for start in range(0, len(whole), ROWS):
                        at_answers(model, whole[start : start + ROWS], own_log_probs)

            found = _timed({"engine": shared, "plain": plain}, rounds)
            print(
                f"teacher scores, {name}: {len(asked)} texts, {found['plain'] / found['engine']:.2f} x as fast shared"
            )


def _tell_ppd(student: Model, encoded: list[Turn], rounds: int) -> None:
    """Four responses to each of four prompts: the answers of four rows, which are of unequal length."""
    answers = [turn.completion_ids for turn in encoded]
    groups = [
        Group(
            tuple(Turn(encoded[n].prompt_ids, answers[n * RESPONSES + at]) for at in range(RESPONSES)),
            tuple(float(-at) for at in range(RESPONSES)),
            encoded[n],
        )
        for n in range(PROMPTS)
    ]
    model = weights.load(student, torch.float32, 512).train()
    lesson = Ranking(groups, "ppd", pad.Config().scales)
    places = [Item(n, n, 0) for n in range(PROMPTS)]
    sequences = [turn for group in groups for turn in group.answers]

    def ppd() -> None:
        lesson.loss(model, places)[0].backward()

    def sft() -> None:
        _sft_loss(model, sequences).backward()

    found = _timed({"sft": sft, "ppd": ppd}, rounds)
    print(f"ppd step: {found['ppd'] / found['sft']:.2f} x the step of {len(sequences)} SFT sequences (goal 1.30)")


def _sft_loss(model: Any, sequences: list[Turn]) -> torch.Tensor:
    """As methods/sft.py computes it on a CPU (ml/answers.py)."""
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    labels, seen = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for row, turn in enumerate(sequences):
        ids[row, : len(turn)] = torch.tensor(turn.input_ids)
        labels[row, : len(turn)] = torch.tensor(turn.labels)
        seen[row, : len(turn)] = 1
    columns = answer_columns(labels)
    logits = model(input_ids=ids, attention_mask=seen, use_cache=False, logits_to_keep=columns).logits
    return answer_loss(logits, labels, columns, None)


def _tell_plackett_luce(rounds: int) -> None:
    student, teacher = torch.randn(64, 5, requires_grad=True), torch.randn(64, 5)
    found = _timed({"ppd": lambda: ppd_loss(student, teacher, 10.0, 10.0).sum().backward()}, 10 * rounds)
    print(f"plackett-luce, 64 prompts with 5 responses: {1000 * found['ppd']:.1f} ms (goal 5)")


def _write_hints(folder: Path, teacher: Model, encoded: list[Turn]) -> None:
    with open_engine(teacher) as engine:
        write(path_of(folder, 0), _asked(engine, encoded), KEPT, 2048)


def _asked(engine: Any, encoded: list[Turn]) -> list[Likeliest]:
    found: list[Likeliest] = engine.likeliest(
        [turn.prompt_ids for turn in encoded], [turn.completion_ids for turn in encoded], KEPT
    )
    return found


def _cached_step(folder: Path, model: Any, encoded: list[Turn]) -> Callable[[], Any]:
    lesson = topk_kd.Cached(encoded, list(range(ROWS)), [HintShards(folder)], topk_kd.Config())
    places = [Item(n, n, 0) for n in range(ROWS)]

    def step() -> None:
        lesson.loss(model, places)[0].backward()

    return step


def _online_step(engine: Any, model: Any, encoded: list[Turn]) -> Callable[[], Any]:
    def step() -> None:
        said = _asked(engine, encoded)
        logits, _ = answer_logits(model, encoded)
        ids = torch.cat([torch.from_numpy(one.ids).long() for one in said])
        log_probs = torch.cat([torch.from_numpy(one.log_probs) for one in said])
        top_kd_loss(logits, ids, with_rest(log_probs), "forward").sum().backward()

    return step


def _plain_step(teacher: Model, model: Any, encoded: list[Turn]) -> Callable[[], Any]:
    guide = weights.load(teacher, torch.float32, 512).eval()

    def step() -> None:
        with torch.no_grad():
            said = answer_logits(guide, encoded)[0].log_softmax(dim=1).topk(KEPT, dim=1)
        logits, _ = answer_logits(model, encoded)
        top_kd_loss(logits, said.indices, with_rest(said.values), "forward").sum().backward()

    return step


def _tell_cache(folder: Path, teacher: Model, student: Model, encoded: list[Turn], rounds: int) -> None:
    model = weights.load(student, torch.float32, 512).train()
    with open_engine(teacher) as engine:
        ways = {
            "cache": _cached_step(folder, model, encoded),
            "plain": _plain_step(teacher, model, encoded),
            "engine": _online_step(engine, model, encoded),
        }
        found = _timed(ways, rounds)
    for way in ("plain", "engine"):
        print(f"topk_kd: {found[way] / found['cache']:.2f} x the steps/s of the online teacher, {way} (goal 1.50)")
    peaks = {way: _in_a_process(_peak, way, folder, teacher, student, encoded) for way in ways}
    print("memory: the step adds", ", ".join(f"{peak:,.0f} MiB ({way})" for way, peak in peaks.items()))
    tokens = sum(len(turn.completion_ids) for turn in encoded)
    each = path_of(folder, 0).stat().st_size / tokens
    print(f"storage: {each:.0f} bytes a token with top_k {KEPT}, file headers included")


def _in_a_process(work: Callable[..., float], *given: Any) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def _peak(way: str, folder: Path, teacher: Model, student: Model, encoded: list[Turn]) -> float:
    before = psutil.Process().memory_info().rss / 2**20
    with measured() as took:
        model = weights.load(student, torch.float32, 512).train()
        if way == "cache":
            _cached_step(folder, model, encoded)()
        elif way == "plain":
            _plain_step(teacher, model, encoded)()
        else:
            with open_engine(teacher) as engine:
                _online_step(engine, model, encoded)()
    assert took.peak_mib is not None, "this system does not tell a process's peak"
    return took.peak_mib - before


def _timed(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of processor time; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, work in ways.items():
            begun = time.process_time()
            work()
            found[name].append(time.process_time() - begun)
    return {name: median(times[1:]) for name, times in found.items()}


if __name__ == "__main__":
    main(*[int(value) for value in sys.argv[1:]] or [5])
