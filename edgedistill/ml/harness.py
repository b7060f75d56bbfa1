"""Tasks of EleutherAI's lm-evaluation-harness, asked through our engines, so in the runtime of the device.

The harness brings questions and metrics, an engine the answers. Every context goes through the chat template, since
that is how a student is asked; a task that needs raw text, or that begins the answer itself, is refused.

Source  lm-evaluation-harness 0.4.13, lm_eval/api/model.py. Its own GGUF adapter reads a field that llama-server no
        longer sends (its issue 4158), and runs no other format.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from edgedistill.engine import Messages
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_json
from edgedistill.log import progress

_ROOM = 256
"""Tokens of an answer where a task does not say."""


def run(
    out: Path, name: str, engine: Any, tasks: Sequence[str], items: int | None, folder: Path | None = None
) -> dict[str, dict[str, Any]]:
    """`lm_eval` of the report's schema: of each task its first metric.

    items   documents per task, the first ones; None: all
    folder  with task files beside the harness's own
    Leaves  lm_eval/<name>.json: every metric; a rerun reads it
    Raises  UsageError for a task that is not known, whose data cannot be had, or that cannot be asked of a chat model
    """
    path = out / "lm_eval" / f"{name}.json"
    if not path.is_file():
        write_json(path, _evaluate(engine, tasks, items, folder, name))
    found = read_json(path)
    return {task: _first_metric(metrics) for task, metrics in found.items()}


def _evaluate(engine: Any, tasks: Sequence[str], items: int | None, folder: Path | None, name: str) -> dict[str, Any]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(folder) if folder else None)
    for task in tasks:
        if task not in manager.all_tasks:
            near = difflib.get_close_matches(task, manager.all_tasks, 1)
            raise UsageError(
                f"validate.lm_eval: the lm-evaluation-harness has no task `{task}`"
                + (f", did you mean `{near[0]}`?" if near else ""),
                "`lm-eval ls tasks` lists them",
            )
    try:
        done = simple_evaluate(
            EngineModel(engine, name),
            tasks=list(tasks),
            limit=items,
            apply_chat_template=True,
            task_manager=manager,
            bootstrap_iters=0,  # standard errors by formula, where there is one
            log_samples=False,
        )
    except OSError as error:  # the data sets library's errors are children of it
        raise UsageError(
            f"validate.lm_eval: the data of {', '.join(tasks)} cannot be had: {str(error).splitlines()[0]}",
            "the harness fetches data from the Hugging Face hub; fetch it once with a network, or leave the task out",
        ) from error
    assert done is not None
    return {task: {**done["results"][task], "n": _count(done, task)} for task in tasks}


def _count(done: dict[str, Any], task: str) -> int:
    """Documents of a task, or of all tasks of a group."""
    parts = done.get("group_subtasks", {}).get(task) or [task]
    counts = [_count(done, part) if part != task else 0 for part in parts]
    own = done["n-samples"].get(task, {}).get("effective", 0)
    return int(own) or sum(counts)


def _first_metric(metrics: dict[str, Any]) -> dict[str, Any]:
    """`acc,none` before `acc_norm,none`, in the order of the task's file."""
    values = {name: value for name, value in metrics.items() if "," in name and isinstance(value, int | float)}
    name = next(name for name in values if "_stderr," not in name)
    metric, _, way = name.partition(",")
    error = values.get(f"{metric}_stderr,{way}")
    known = error is not None and math.isfinite(error)
    return {
        "metric": metric,
        "value": round(values[name], 6),
        "stderr": round(error, 6) if known and error is not None else None,
        "n": metrics["n"],
    }


class EngineModel(LM):  # type: ignore[misc]
    """An engine as a model of the harness. A context is a conversation, written as JSON."""

    tokenizer_name = "edgedistill"

    def __init__(self, engine: Any, name: str) -> None:
        super().__init__()
        self._engine, self._name = engine, name

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation itself: the engine knows the template."""
        if not add_generation_prompt:
            raise UsageError(
                "validate.lm_eval: a task begins the model's answer itself, which an engine cannot go on from",
                "choose a task without `gen_prefix`",
            )
        return json.dumps([{"role": turn["role"], "content": turn["content"]} for turn in chat_history])

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Sum of the log probabilities of a continuation, and whether greedy decoding would write it.

        The second is asked only where a context has a single continuation: a choice among several does not need it.
        """
        asked = [(request.args[0], request.args[1]) for request in requests]
        said, texts = [_messages(context) for context, _ in asked], [text for _, text in asked]
        with progress(f"lm-eval of {self._name}", len(asked), 0) as advance:
            sums = [math.fsum(one) for one in self._engine.answer_log_probs(said, texts, on_done=advance)]
        counts = Counter(context for context, _ in asked)
        return [
            (total, counts[context] == 1 and self._is_greedy(messages, text))
            for (context, text), messages, total in zip(asked, said, sums, strict=True)
        ]

    def _is_greedy(self, messages: Messages, text: str) -> bool:
        ids = self._engine.text_ids(text)
        steps = self._engine.step_log_probs(messages, ids)[: len(ids)]
        return bool(steps.argmax(axis=1).tolist() == list(ids))

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answers up to the first of a task's stop texts, without it."""
        groups: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            groups[json.dumps(request.args[1], sort_keys=True)].append(number)
        answers = [""] * len(requests)
        with progress(f"lm-eval of {self._name}", len(requests), 0) as advance:
            for settings, numbers in groups.items():
                given = json.loads(settings)
                texts = self._engine.generate(
                    [_messages(requests[number].args[0]) for number in numbers],
                    max_tokens=int(given.get("max_gen_toks", _ROOM)),
                    temperature=float(given.get("temperature") or 0) if given.get("do_sample") else 0.0,
                    on_done=advance,
                )
                for number, text in zip(numbers, texts, strict=True):
                    answers[number] = _until(text, given.get("until") or [])
        return answers

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise UsageError(
            f"validate.lm_eval: {requests[0].task_name} takes the perplexity of raw text, but a chat model is asked "
            "through its template",
            "leave the task out; a recipe without tasks takes perplexity on its own text",
        )


def _messages(context: str) -> Messages:
    found: Messages = json.loads(context)
    return found


def _until(text: str, stops: str | Sequence[str]) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] if stop else text
    return text
