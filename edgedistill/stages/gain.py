"""The truth that signals predict: small groups of drafts, and what fine-tuning on each does for the student."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean

from edgedistill import components
from edgedistill.artifacts import Draft, Drafts, Gain, Gains, Preferences
from edgedistill.comparison_sections import MethodsConfig
from edgedistill.engine import open_engine, user
from edgedistill.errors import StageFailed
from edgedistill.files import read_rows, write_json, write_rows
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.prompts import extract_answer, plain_prompt
from edgedistill.rationales import END_OF_ANSWER
from edgedistill.sections import DistillConfig
from edgedistill.shards import Row, seed_of, shard, shard_path
from edgedistill.store import stage
from edgedistill.task import Item, Task


@stage(version=1)
def gain(
    out: Path,
    drafts: Drafts,
    rated: Preferences,
    student: Model,
    tasks: list[Task],
    config: DistillConfig,
    groups: MethodsConfig,
    seed: int,
) -> Gains:
    """Train the student on each group from where it stands, and ask it the validation items outside the exam.

    rated   its exam.jsonl says which items scored the drafts; only drafts with a score are drawn
    config  how the student is trained, method and options
    groups  of it `groups`, `group_size` and `max_tokens` matter

    Leaves  gains.jsonl: task, drafts (ids), accuracy and log_prob (rises against the student as it comes)
    Raises  StageFailed when a task has too few drafts for two groups, or no validation item outside the exam
    """
    tests = {task.name: _Test(task, _held_out(task, rated), groups.max_tokens) for task in tasks}
    drawn = {task.name: _groups(task, drafts, rated, groups, seed) for task in tasks}
    folders = {task.name: out / "shards" / task.name for task in tasks}
    done = sum(shard_path(folders[name], n + 1).is_file() for name, own in drawn.items() for n in range(len(own)))
    found: list[Gain] = []
    with progress("gain", sum(map(len, drawn.values())), done) as advance:
        for name, test in tests.items():

            def ask(test: _Test = test) -> Iterator[Row]:
                yield test.of(student)

            (base,) = shard(folders[name], 0, ask)
            for number, group in enumerate(drawn[name], start=1):

                def make(group: list[Draft] = group, test: _Test = test) -> Iterator[Row]:
                    yield test.of(_trained(out / "work", group, test.task, student, config, seed))
                    shutil.rmtree(out / "work")
                    advance(1)

                (after,) = shard(folders[name], number, make)
                rises = {figure: round(after[figure] - base[figure], 9) for figure in ("accuracy", "log_prob")}
                found.append(Gain(name, tuple(draft.id for draft in group), **rises))
    write_rows(out / "gains.jsonl", map(asdict, found))
    mean = fmean(one.accuracy for one in found)
    summary = f"{len(found):,} groups of {groups.group_size} drafts, mean gain {mean:+.3f}"
    write_json(out / "counts.json", {"rows": len(found), "summary": summary})
    return Gains(out)


@dataclass(frozen=True)
class _Test:
    """What every student is asked."""

    task: Task
    items: list[Item]
    max_tokens: int

    def of(self, model: Model) -> Row:
        """Share of right answers, and mean log-probability per token of the right ones."""
        prompts = [user(plain_prompt(self.task.info.description, item.question)) for item in self.items]
        with open_engine(model) as engine:
            texts = engine.generate(prompts, max_tokens=self.max_tokens, stop=END_OF_ANSWER)
            tokens = engine.answer_log_probs(prompts, [f"<ans>{item.answer}</ans>" for item in self.items])
        is_right = self.task.grader.is_right
        right = [is_right(extract_answer(text), item.answer) for text, item in zip(texts, self.items, strict=True)]
        return {"accuracy": sum(right) / len(right), "log_prob": fmean(map(fmean, tokens))}


def _held_out(task: Task, rated: Preferences) -> list[Item]:
    exam = {row["id"] for row in read_rows(rated.path / "exam.jsonl") if row["task"] == task.name}
    if items := [item for item in task.validation if item.id not in exam]:
        return items
    raise StageFailed(
        f"gain: task `{task.name}` has no validation item outside the exam", "lower `prefer.exam_size`, or add items"
    )


def _groups(task: Task, drafts: Drafts, rated: Preferences, config: MethodsConfig, seed: int) -> list[list[Draft]]:
    """Disjoint groups, drawn by lot."""
    scored = {score.draft_id for score in rated.scores()}
    own = [draft for draft in drafts.rows() if draft.task == task.name and draft.id in scored]
    size, count = config.group_size, min(config.groups, len(own) // config.group_size)
    if count < 2:
        raise StageFailed(
            f"gain: task `{task.name}` has {len(own)} drafts, which are fewer than two groups of {size}",
            "raise `elicit.questions`, or lower `methods.group_size`",
        )
    mixed = Random(seed_of(seed, "groups", task.name)).sample(own, size * count)
    return [mixed[start : start + size] for start in range(0, size * count, size)]


def _trained(work: Path, group: list[Draft], task: Task, student: Model, config: DistillConfig, seed: int) -> Model:
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    work.mkdir(parents=True)
    rows = [(plain_prompt(task.info.description, draft.question), draft.rationale) for draft in group]
    components.load("methods", config.method).train(work, rows, student, config, seed)
    return replace(student, path=work / "model", key="")
