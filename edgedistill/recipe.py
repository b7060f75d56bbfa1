"""A recipe: task, teacher, student and one section per stage. One YAML file = one published student."""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from edgedistill import task, yaml_file
from edgedistill.comparison_sections import ArmsConfig, MethodsConfig
from edgedistill.errors import UsageError
from edgedistill.sections import (
    ANY_PREFER,
    SOME_METHODS,
    SOME_PACKAGES,
    AlignConfig,
    CalibrateConfig,
    ElicitConfig,
    ModelConfig,
    Section,
    TailorConfig,
    TextConfig,
    ValidateConfig,
)


class Budgets(Section):
    """Limits that a target or recipe sets. A recipe's limit replaces the target's."""

    first_token_ms: Annotated[float, Field(gt=0)] | None = None
    """Longest wait for the first token, median, in milliseconds."""
    decode_tok_s: Annotated[float, Field(gt=0)] | None = None
    """Slowest decode speed, median, in tokens per second."""
    memory_mib: Annotated[float, Field(gt=0)] | None = None
    """Largest peak memory of the runtime with the model, in MiB."""
    package_mib: Annotated[float, Field(gt=0)] | None = None
    """Largest model file, in MiB."""
    accuracy_drop: Annotated[float, Field(ge=0, le=1)] | None = None
    """Non-inferiority margin: largest loss of test accuracy against the float student, 0-1. Where neither recipe nor
    target sets it: 0.02."""

    @property
    def margin(self) -> float:
        """The accuracy gate's: what a drop may be at the far end of its interval."""
        return 0.02 if self.accuracy_drop is None else self.accuracy_drop

    def replaced_by(self, other: Budgets) -> Budgets:
        """These limits, with every limit that `other` sets in its place."""
        return self.model_copy(update=other.model_dump(exclude_none=True))


class CostConfig(Section):
    """What `plan` assumes when it counts calls, tokens and hours. None of it changes what a build makes."""

    accelerator: str | None = None
    """Whose hours are estimated, unless `--accelerator` names another."""
    question_tokens: Annotated[int, Field(ge=1)] = 100
    """Length of a question, for tasks that are still without items."""
    rationale_tokens: Annotated[int, Field(ge=1)] = 150
    """Length of a rationale, for tasks whose seeds have none."""
    validation_items: Annotated[int, Field(ge=4)] = 100
    """Labelled items per task, for tasks that are still without items (ARTE: 100)."""


class Recipe(Section):
    """What makes one student. Paths are relative to the recipe's file."""

    name: str = ""
    """Taken from the file or folder name."""
    folder: Path = Path()
    """Where the recipe's file lies."""
    title: str
    """One line: what the student is for."""
    tasks: tuple[str, ...] = ()
    """Task folders: task.yaml, seeds.jsonl, validation.jsonl, test.jsonl. A recipe that only packages may have none."""
    teacher: ModelConfig | None = None
    """Leave it out, with `distill`, to package a student that is trained already."""
    student: ModelConfig
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Everything random starts here."""
    elicit: ElicitConfig = ElicitConfig()
    prefer: ANY_PREFER | None = None
    align: AlignConfig | None = None
    """Leave out for the untailored baseline: the original teacher writes the data."""
    tailor: TailorConfig = TailorConfig()
    distill: SOME_METHODS = ()
    """One method, or a list of methods that train the student one after another. Leave it out, with `teacher`, to
    package the student as it is."""
    calibrate: CalibrateConfig = CalibrateConfig()
    package: SOME_PACKAGES
    """One exporter's settings, or a list of them: their candidates compete."""
    # `validate` is a name of pydantic's own, so the field has another and the file's key is an alias.
    validation: Annotated[ValidateConfig, Field(alias="validate")] = ValidateConfig()
    text: TextConfig = TextConfig()
    """Read where there is no task."""
    arms: ArmsConfig = ArmsConfig()
    """Read by the command `arms` alone."""
    methods: MethodsConfig = MethodsConfig()
    """Read by the command `methods` alone."""
    cost: CostConfig = CostConfig()
    """Read by the command `plan` alone."""
    budgets: Budgets = Budgets()
    """Replace the target's budgets, limit by limit."""

    @field_validator("tasks")
    @classmethod
    def _task_names_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        # A task is known by its folder's name everywhere: in shards, exams, reports and bundles.
        names = [Path(task).name for task in tasks]
        for given, name in zip(tasks, names, strict=True):
            if name in ("", ".."):
                raise ValueError(f"`{given}` names no folder")
            if names.count(name) > 1:
                raise ValueError(f"two folders are named `{name}`; a task is known by its folder's name")
        return tasks

    @field_validator("package")
    @classmethod
    def _exporters_differ(cls, packages: SOME_PACKAGES) -> SOME_PACKAGES:
        if not packages:
            raise ValueError("names no exporter")
        # Candidates are told apart by format and quant, so two lists of one exporter could meet.
        names = [config.exporter for config in packages]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"exporter `{twice}` is listed twice; put all its candidates into one entry")
        return packages

    @model_validator(mode="after")
    def _training_is_whole(self) -> Self:
        if self.distill:
            missing = [name for name in ("teacher", "tasks") if not getattr(self, name)]
            if missing:
                raise ValueError(f"{', '.join(missing)}: missing, `distill` trains on what a teacher writes for tasks")
        elif given := [name for name in ("teacher", "prefer", "align") if getattr(self, name)]:
            raise ValueError(
                f"distill: missing, though {', '.join(given)} is given; leave those out too to package the student as "
                "it is"
            )
        return self

    @model_validator(mode="after")
    def _align_has_preferences(self) -> Self:
        if self.align and not self.prefer:
            raise ValueError("align: needs a `prefer` section, whose pairs it learns from")
        return self

    @model_validator(mode="after")
    def _pairs_can_fill_a_batch(self) -> Self:
        if self.align and self.prefer:
            questions, asked = self.elicit.questions, self.prefer.question_pairs
            most = questions + (questions // 4 if asked == "quartile" else min(asked, questions // 2))
            if most * len(self.tasks) < self.align.batch:
                raise ValueError(
                    f"align.batch: {self.align.batch}, but {questions} questions per task make at most"
                    f" {most * len(self.tasks)} pairs; lower it, or raise elicit.questions"
                )
        return self

    @model_validator(mode="after")
    def _styles_are_for_tasks_of_the_recipe(self) -> Self:
        names = [Path(task).name for task in self.tasks]
        if unknown := sorted(self.elicit.task_styles.keys() - set(names)):
            raise ValueError(f"elicit.task_styles: no task named `{unknown[0]}`; there are: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _what_is_trained_is_here(self) -> Self:
        if self.student.base_url is not None:
            raise ValueError(
                f"student: is trained, which `{self.student.model}` on a server cannot be; give a folder or hub id"
            )
        if self.align and self.prefer:
            self.prefer.check_student(self.student)
        if self.align and self.teacher and self.teacher.base_url is not None:
            raise ValueError(
                f"align: trains the teacher, which `{self.teacher.model}` on a server cannot be; leave `align` and "
                "`prefer` out, and it writes the data as it is, or give a teacher with a folder or hub id"
            )
        return self


def asked(
    name: str | None,
    overrides: tuple[str, ...],
    default: str,
    *,
    student: str | None = None,
    chat_template: str | None = None,
    text: str | None = None,
) -> Recipe:
    """The recipe that a command line means: one by name, else that of a student alone, else the target's own."""
    if student is None:
        if given := [option for option, value in (("--chat-template", chat_template), ("--text", text)) if value]:
            raise UsageError(f"{given[0]}: goes with --student", "a recipe states it itself, or take `--set`")
        return load(name or default, overrides)
    if name:
        raise UsageError(
            "--student and --recipe: a recipe names its student itself",
            f"`--recipe {name} --set student.model={student}`, or --student alone to package a model as it is",
        )
    model, at, revision = student.rpartition("@")
    is_pinned = bool(at) and not Path(student).expanduser().exists()
    raw: dict[str, Any] = {"model": model if is_pinned else student}
    raw |= {"revision": revision} if is_pinned else {}
    raw |= {"chat_template": chat_template} if chat_template else {}
    return _of_student(raw, text, overrides)


def _of_student(student: dict[str, Any], text: str | None, overrides: tuple[str, ...]) -> Recipe:
    """What somebody trained elsewhere is packaged as it is. Paths are relative to where the command runs."""
    model = student["model"]
    raw: dict[str, Any] = {"title": f"{model}, packaged as it is", "student": student, "package": {}}
    raw |= {"text": {"file": text}} if text else {}
    for override in overrides:
        yaml_file.lay_over(raw, override)
    own = {"name": _name_of(model), "folder": Path.cwd()}
    return yaml_file.parse(Recipe, raw, f"the recipe of --student {model}", Path("(made from the options)"), own)


def _name_of(model: str) -> str:
    """The last part of a folder or hub id, as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).resolve().name).strip(".-") or "student"


def load(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe by shipped name, or by path of its YAML file or folder, with `a.b=value` overrides applied.

    Raises   UsageError with every problem of the file, and then with those of the task folders that it names, too
    """
    path = yaml_file.find("recipes", name)
    raw = yaml_file.read(path, overrides)
    own_name = path.parent.name if path.name == "recipe.yaml" else path.stem
    own = {"name": own_name, "folder": path.parent}
    title = " ".join([f"recipe `{own_name}`", *(f"--set {override}" for override in overrides)])
    try:
        return yaml_file.parse(Recipe, raw, title, path, own)
    except UsageError as error:
        if more := _problems_of_tasks(raw.get("tasks"), path.parent):
            lines = "\n".join(indent(problem, "  ") for problem in more)
            raise UsageError(f"{error.problem}\nand its tasks have problems\n{lines}", error.hint) from None
        raise


def _problems_of_tasks(named: Any, folder: Path) -> list[str]:
    """What a build would find only once the recipe itself is right."""
    found = []
    for name in named if isinstance(named, list) else []:
        if isinstance(name, str) and name.strip():
            try:
                task.load(folder / os.path.expanduser(name), needs_items=False)
            except UsageError as error:
                found.append(error.problem)
    return found
