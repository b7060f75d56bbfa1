"""The sections of a recipe: one frozen class each, defaults here and nowhere else.

A section that names a component (`method: sft`) is read by the `Config` class of that file, which extends the section
with the component's own options: `distill: {method: sft, epochs: 3}`. Identity = what can change results; it is what
the store hashes. Fields marked NotIdentity stay out of it.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from edgedistill import components


class _NotIdentity:
    pass


NotIdentity = _NotIdentity()
"""`Annotated[int, NotIdentity]`: this field cannot change the result, so it stays out of the cache key."""


class Section(BaseModel):
    """Part of a recipe, target, manifest or report: frozen, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `no` as False, and Python takes False for 0.
        if isinstance(value, bool) and "bool" not in str(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"{str(value).lower()} is not a number or text")
        return value

    def identity(self) -> dict[str, Any]:
        """What can change results: all fields but NotIdentity ones, and the version of the component that has them."""
        kept = {}
        for name, field in type(self).model_fields.items():
            if not any(isinstance(mark, _NotIdentity) for mark in field.metadata):
                kept[name] = _identity(getattr(self, name))
        module = importlib.import_module(type(self).__module__)
        version = getattr(module, "VERSION", None)
        return kept if version is None else {**kept, "component": f"{module.__name__}@{version}"}


def _identity(value: Any) -> Any:
    if isinstance(value, Section):
        return value.identity()
    if isinstance(value, tuple | list):
        return [_identity(item) for item in value]
    return value


class _Chosen:
    """Annotation: the section is read by the `Config` of the file that its field `choice` names."""

    def __init__(self, folder: str, choice: str, default: str) -> None:
        self.folder, self.choice, self.default = folder, choice, default

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {
            name: handler.generate_schema(components.load(self.folder, name).Config)
            for name in components.names(self.folder)
        }

        def pick(value: Any) -> Any:
            if isinstance(value, dict):
                return value.get(self.choice, self.default)
            return getattr(value, self.choice, None)

        return core_schema.tagged_union_schema(choices, discriminator=pick)


class ModelConfig(Section):
    """A causal language model in Hugging Face layout."""

    model: str
    """Folder, relative to the recipe, or a hub id."""
    revision: str | None = None
    """Full 40-digit commit of the hub id. Required for hub ids, so that the same recipe means the same model."""
    engine: str = "hf"
    """Which file in engines/ runs it for elicitation and scoring."""

    @field_validator("engine")
    @classmethod
    def _there_is_such_an_engine(cls, engine: str) -> str:
        known = components.names("engines")
        if engine not in known:
            near = components.near(engine, "engines")
            raise ValueError(f"no engine named `{engine}`{near}; there are: {', '.join(known)}")
        return engine


class ElicitConfig(Section):
    """The teacher drafts questions and rationales."""

    questions: Annotated[int, Field(ge=2)] = 250
    """Draft questions per task (ARTE: 250)."""
    per_prompt: Annotated[int, Field(ge=1, le=20)] = 5
    """Questions asked for in one prompt (ARTE: 5)."""
    same_seeds: Annotated[int, Field(ge=1)] = 8
    """Prompts in a row that show the same three seeds, before the next three: the engine encodes them once."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """For questions. Rationales are drafted at the same temperature."""
    attempts: Annotated[int, Field(ge=1)] = 20
    """Give up after this many times the prompts that would be needed if every question were usable."""
    max_question_tokens: Annotated[int, Field(ge=16)] = 512
    """Room for one answer to the question prompt."""
    max_rationale_tokens: Annotated[int, Field(ge=8)] = 256
    """Room for one rationale with its answer."""


class PreferConfig(Section):
    """Every draft is scored by how much it helps the student; best and worst become pairs."""

    signal: str = "icl_accuracy"
    """Which file in signals/ scores a draft."""
    exam_size: Annotated[int, Field(ge=4)] = 40
    """Validation items per task that score a draft (ARTE: 40)."""
    min_gap: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Smallest difference of two scores that makes a pair."""
    question_pairs: Annotated[int, Field(ge=0)] = 50
    """Question-level pairs per task: the top this-many against the bottom this-many (ARTE: 50)."""


class AlignConfig(Section):
    """The teacher learns the student's preferences by DPO."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the pull towards the original teacher. Not given in the paper; TRL's default."""
    learning_rate: Annotated[float, Field(gt=0)] = 5.0e-6
    """For the adapter. The paper's 1e-7 is for full fine-tuning and too small for LoRA."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the pairs (ARTE: 1)."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Pairs per optimizer step (ARTE: 16)."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps with rising learning rate, then cosine (ARTE: 0.1)."""
    lora_rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the adapter on all linear layers."""
    device_batch: Annotated[int, Field(ge=1)] = 4
    """Pairs that go through the model at once; `batch` is a multiple of it. Lower it when memory runs out."""
    max_tokens: Annotated[int, Field(ge=16)] = 2048
    """Pairs longer than this, prompt included, are left out and counted."""
    checkpoint_steps: Annotated[int, Field(ge=1), NotIdentity] = 200
    """Steps between two checkpoints, from which a killed training goes on."""

    @model_validator(mode="after")
    def _batch_is_made_of_device_batches(self) -> Self:
        if self.batch % self.device_batch:
            raise ValueError(f"batch {self.batch} is not a multiple of device_batch {self.device_batch}")
        return self


class TailorConfig(Section):
    """The aligned teacher writes the training data."""

    rows: Annotated[int, Field(ge=1)] = 250
    """Questions per task, each with one plain rationale at temperature 0 (ARTE: 250)."""
    per_prompt: Annotated[int, Field(ge=1, le=20)] = 5
    """Questions asked for in one prompt (ARTE: 5)."""
    same_seeds: Annotated[int, Field(ge=1)] = 8
    """Prompts in a row that show the same three seeds, before the next three: the engine encodes them once."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """For questions (ARTE, appendix F)."""
    attempts: Annotated[int, Field(ge=1)] = 20
    """Give up after this many times the prompts that would be needed if every question were usable."""
    max_question_tokens: Annotated[int, Field(ge=16)] = 512
    """Room for one answer to the question prompt."""
    max_rationale_tokens: Annotated[int, Field(ge=8)] = 256
    """Room for one rationale with its answer."""


class DistillConfig(Section):
    """The student is trained on the tailored rows. Options beyond `method` are the method's own."""

    method: str = "sft"
    """Which file in methods/ trains."""


class PackageConfig(Section):
    """The student becomes candidates. Options beyond `exporter` are the exporter's own."""

    exporter: str = "gguf"
    """Which file in exporters/ writes the candidates."""


class ValidateConfig(Section):
    """Every candidate is checked on golden cases and on the task's test items."""

    golden_cases: Annotated[int, Field(ge=8)] = 24
    """Prompts that a candidate must reproduce; at least half are plain questions of the task."""
    first_token_kl_max: Annotated[float, Field(gt=0)] = 0.5
    """Largest KL, in nats, of a quantized candidate's first-token distribution from the float student's."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """Room for one answer."""
    context: Annotated[int, Field(ge=64)] = 1024
    """Context that the app reserves, in tokens; the KV cache is counted for it."""

    @model_validator(mode="after")
    def _an_answer_leaves_room_for_a_prompt(self) -> Self:
        if self.max_tokens >= self.context:
            raise ValueError(f"max_tokens {self.max_tokens} leaves no room for a prompt in a context of {self.context}")
        return self


ANY_DISTILL = Annotated[DistillConfig, _Chosen("methods", "method", "sft")]
ANY_PACKAGE = Annotated[PackageConfig, _Chosen("exporters", "exporter", "gguf")]
ANY_PREFER = Annotated[PreferConfig, _Chosen("signals", "signal", "icl_accuracy")]
