"""What the sections of the methods have in common: how a student is trained, and whom it learns from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgedistill.sections import DistillConfig, ModelConfig, NotIdentity, Section


class LearnConfig(DistillConfig):
    """How a student is trained. Methods set other defaults where their papers do."""

    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the tailored rows (ARTE: 1)."""
    learning_rate: Annotated[float, Field(gt=0)] = 2.0e-5
    """Highest learning rate (ARTE: 2e-5). Students of a few million parameters take up to 1e-3."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Rows per optimizer step."""
    device_batch: Annotated[int, Field(ge=1)] | None = None
    """Rows that go through the model at once. Lower it when memory runs out. None: the whole batch."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Share of the steps with rising learning rate (ARTE: 0.03); then it falls to 0, as `decay` says."""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of an adapter on all linear layers, merged at the end. None: all weights are trained."""
    max_tokens: Annotated[int, Field(ge=16)] = 1024
    """Rows longer than this, prompt included, are left out and counted: cut off, they would teach not to stop."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of a step's gradient."""
    checkpoint_steps: Annotated[int, Field(ge=1), NotIdentity] = 200
    """Steps between two checkpoints, from which a killed training goes on."""
    decay: ClassVar[str] = "linear"
    """How the learning rate falls after the warm-up: in a straight line, or by a `cosine`, as the method's paper has
    it."""

    @property
    def chunk(self) -> int:
        """Rows that go through the model at once."""
        return self.device_batch or self.batch

    @model_validator(mode="after")
    def _batch_is_made_of_device_batches(self) -> Self:
        if self.batch % self.chunk:
            raise ValueError(f"batch {self.batch} is not a multiple of device_batch {self.device_batch}")
        return self


class TeacherConfig(ModelConfig):
    """A teacher beside the recipe's own."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often the student learns from it, in proportion to the others."""


class TutoredConfig(LearnConfig):
    """A student that learns from teachers while it is trained, or from what they said of its rows.

    Its teacher is the model that wrote the rows: the aligned one where the recipe has `align`.

    Source  several teachers: SKDBERT, arXiv:2211.14466: one teacher is drawn at a time, by fixed probabilities. Its
            formulas for them are not known; ranks here weigh in proportion, K for the best of K and 1 for the last.
    """

    has_tutors: ClassVar[bool] = True

    teachers: tuple[TeacherConfig, ...] = ()
    """Others beside the recipe's own."""
    own_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the recipe's own teacher; 0 leaves it out."""
    weights: Literal["given", "uniform", "teacher-rank", "student-rank"] = "given"
    """How often each is drawn: by the weights that are given, all alike, by how many validation items each answers
    right itself, or by how many a student does that a short pilot run taught from it alone."""
    pilot_rows: Annotated[int, Field(ge=1)] = 200
    """With `student-rank`: rows of each pilot run."""
    pilot_items: Annotated[int, Field(ge=4)] = 40
    """With ranks: validation items per task that decide."""
    pilot_tokens: Annotated[int, Field(ge=4)] = 128
    """With ranks: room for one answer."""

    @property
    def hints(self) -> HintsConfig | None:
        """What the teachers write down beforehand, for methods that read that in place of asking them."""
        return None

    @property
    def teachers_beside(self) -> int:
        """Teachers that are in memory at once while the student is trained."""
        return 0

    @property
    def why_no_server(self) -> str | None:
        """Why a model on a server cannot teach by this method; None: it can."""
        return None

    @model_validator(mode="after")
    def _somebody_teaches(self) -> Self:
        if not self.own_weight and not self.teachers:
            raise ValueError("own_weight: 0 leaves the recipe's teacher out, and `teachers` names no other")
        return self


class HintsConfig(Section):
    """What a teacher writes down of its distributions over the rows, for `topk_kd`."""

    top_k: Annotated[int, Field(ge=1)] = 32
    """Likeliest tokens that are kept at each place."""
    max_tokens: Annotated[int, Field(ge=16)] = 1024
    """Rows longer than this, prompt included, are left out."""
    vocabulary: Literal["equal", "padded", "text"] = "equal"
    """Whether teacher and student must have the same vocabulary (vocabulary.py)."""
