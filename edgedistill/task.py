"""A task on disk: seeds, validation items, test items, and how an answer is graded.

    task.yaml          kind, title, description, licence; optional grammar, public_test, prepare
    seeds.jsonl        >= 3 solved examples      id, question, answer, rationale
    validation.jsonl   labelled, for the exam    id, question, answer
    test.jsonl         labelled, for `validate`  id, question, answer

Test items may come from other files instead (public_items.py). A task whose items may not be shipped says in `prepare`
how to make the three files; it can be planned with, and is refused by everything else until they are there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, field_validator

from edgedistill import components, public_items, yaml_file
from edgedistill.errors import UsageError
from edgedistill.files import licence_texts, read_rows, sha256_of
from edgedistill.sections import Section

PARTS = ("seeds", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One labelled question. Only seeds carry a rationale."""

    id: str
    question: str
    answer: str
    rationale: str = ""


class TaskInfo(Section):
    """task.yaml."""

    kind: str
    """Which file in tasks/ says what a right answer is."""
    title: Annotated[str, Field(min_length=1)]
    """The task's name in prompts."""
    description: Annotated[str, Field(min_length=1)]
    """One or two sentences at the head of every prompt."""
    licence: str
    """Of the task's items."""
    grammar: str | None = None
    """GBNF file for the whole answer, beside task.yaml."""
    public_test: tuple[str, ...] = ()
    """Files with public test items of this task, by name: `--test-items DIR` reads them in place of test.jsonl."""
    prepare: str | None = None
    """How the user makes seeds, validation and test items, for a task that ships without them."""

    @field_validator("public_test")
    @classmethod
    def _public_files_are_plain_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if Path(name).name != name or not name.endswith((".json", ".jsonl")):
                raise ValueError(f"`{name}` is not the name of a .json or .jsonl file")
        return names

    @field_validator("grammar")
    @classmethod
    def _grammar_is_in_the_folder(cls, grammar: str | None) -> str | None:
        if grammar is not None and (Path(grammar).is_absolute() or ".." in Path(grammar).parts):
            raise ValueError(f"`{grammar}` is outside the task's folder")
        return grammar


class Grader(Protocol):
    """What a file in tasks/ offers. `given` is the content of `<ans>…</ans>`, None where the answer has none."""

    VERSION: int

    def is_right(self, given: str | None, expected: str) -> bool:
        """Whether the answer counts as right."""

    def details(self, given: list[str | None], expected: list[str]) -> dict[str, float]:
        """Further figures over all items, 0-1, e.g. intent accuracy; empty when the kind has none."""


@dataclass(frozen=True)
class Task:
    """A task folder that has been checked."""

    name: str
    path: Path
    info: TaskInfo
    test_files: tuple[Path, ...] = ()
    """Where test items come from in place of test.jsonl."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Files with items that are not there: what the user has still to prepare."""
        parts = PARTS[:-1] if self.test_files else PARTS
        return tuple(f"{part}.jsonl" for part in parts if not (self.path / f"{part}.jsonl").is_file())

    @property
    def has_items(self) -> bool:
        return not self.missing

    @cached_property
    def seeds(self) -> tuple[Item, ...]:
        return self._items("seeds")

    @cached_property
    def validation(self) -> tuple[Item, ...]:
        return self._items("validation")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """Labelled, never used before `validate`. Other stages may only ask whether a question is among them."""
        if self.test_files:
            return tuple(Item(**row) for row in public_items.read(self.test_files))
        return self._items("test")

    @property
    def grader(self) -> Grader:
        module: Any = components.load("tasks", self.info.kind)
        grader: Grader = module
        return grader

    @property
    def grammar(self) -> Path | None:
        return self.path / self.info.grammar if self.info.grammar else None

    def identity(self) -> dict[str, Any]:
        """Hashes of all files, licence texts included, and the grader's version."""
        files = {path for path in self.path.iterdir() if path.suffix in (".yaml", ".jsonl", ".gbnf")}
        files |= {*licence_texts(self.path), *([self.grammar] if self.grammar else [])}
        if self.test_files:
            files.discard(self.path / "test.jsonl")
        others = {"test_items": [sha256_of(path) for path in self.test_files]} if self.test_files else {}
        return {
            "task": self.name,
            "files": {path.relative_to(self.path).as_posix(): sha256_of(path) for path in sorted(files)},
            **others,
            "grader": f"{self.info.kind}@{self.grader.VERSION}",
        }

    def _items(self, part: str) -> tuple[Item, ...]:
        return tuple(Item(**row) for row in read_rows(self.path / f"{part}.jsonl"))


def load(folder: Path, *, test_items: Path | None = None, needs_items: bool = True) -> Task:
    """Open a task folder; every problem in its files is reported at once.

    test_items    a folder with files that are read in place of the task's test.jsonl (public_items.py)
    needs_items   False opens a task that the user has still to prepare, without any item
    """
    path = folder / "task.yaml"
    if not path.is_file():
        raise UsageError(f"task folder {folder} has no task.yaml", "a task is task.yaml plus three .jsonl files")
    info = yaml_file.parse(TaskInfo, yaml_file.read(path), f"task `{folder.name}`", path)
    components.load("tasks", info.kind)
    files = public_items.find(test_items, folder.name, info.public_test) if test_items else ()
    public_items.read(files)
    task = Task(folder.name, folder, info, files)
    if info.prepare and task.missing:
        if needs_items:
            raise _not_prepared(task)
        return task
    _check(task)
    return task


def _check(task: Task) -> None:
    odd = [item.id for item in task.test if not _is_gradable(task.grader, item.answer)] if task.test_files else []
    problems = [f"test items: no answer for `{task.info.kind}`: item {name}" for name in odd]
    problems += [line for part in (PARTS[:-1] if task.test_files else PARTS) for line in _problems(task, part)]
    if task.grammar and not task.grammar.is_file():
        problems.append(f"{task.info.grammar}: missing, named by task.yaml")
    if not any(line.startswith("seeds.jsonl") for line in problems) and len(task.seeds) < 3:
        problems.append(f"seeds.jsonl: {len(task.seeds)} seeds, at least 3 are needed: a prompt shows three")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        shown = [*problems[:20], *([f"… and {len(problems) - 20} more"] if len(problems) > 20 else [])]
        raise UsageError(f"task `{task.name}` has {count}\n" + "\n".join(f"  {p}" for p in shown))


def _not_prepared(task: Task) -> UsageError:
    return UsageError(
        f"task `{task.name}` ships without its items: {', '.join(task.missing)} missing in {task.path}",
        (task.info.prepare or "").strip(),
    )


def _problems(task: Task, part: str) -> list[str]:
    path = task.path / f"{part}.jsonl"
    if not path.is_file():
        return [f"{path.name}: missing"]
    allowed, needed, found = {"id", "question", "answer", "rationale"}, {"id", "question", "answer"}, []
    seen: set[str] = set()
    try:
        for number, row in enumerate(read_rows(path), start=1):
            if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
                found.append(f"{path.name} row {number}: expected an object whose values are text")
            elif row.keys() - allowed or needed - row.keys():
                found.append(f"{path.name} row {number}: keys {sorted(row)}, expected id, question, answer")
            elif not row["answer"].strip():
                found.append(f"{path.name} row {number}: no answer; every item needs its label")
            elif row["id"] in seen:
                found.append(f"{path.name} row {number}: id `{row['id']}` is used twice")
            elif not _is_gradable(task.grader, row["answer"]):
                found.append(f"{path.name} row {number}: no answer for `{task.info.kind}`: {row['answer'][:60]!r}")
            else:
                seen.add(row["id"])
    except ValueError as error:
        found.append(f"{path.name}: not JSON Lines: {error}")
    return found if seen or found else [f"{path.name}: empty"]


def _is_gradable(grader: Grader, answer: str) -> bool:
    """An expected answer is at least right by itself."""
    try:
        return grader.is_right(answer, answer)
    except UsageError:
        return False


def fold(question: str) -> str:
    """A question without case and spacing: what duplicates are compared by."""
    return hashlib.sha256(" ".join(question.lower().split()).encode()).hexdigest()
