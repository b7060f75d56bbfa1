"""The sections of a recipe: one frozen class each, defaults here and nowhere else.

A section that names a component (`method: sft`) is read by the `Config` class of that file, which extends the section
with the component's own options: `distill: {method: sft, epochs: 3}`. Identity = what can change results; it is what
the store hashes. Fields marked NotIdentity stay out of it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from edgedistill import components, prompts, server_address


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
    if isinstance(value, dict):
        return {name: _identity(item) for name, item in value.items()}
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


class ShapeFacts(Section):
    """What a model's config.json says of its size, for arithmetic before the model is downloaded."""

    architecture: str
    """As config.json names it, e.g. LlamaForCausalLM."""
    layers: Annotated[int, Field(ge=1)]
    hidden: Annotated[int, Field(ge=1)]
    """Width of the residual stream."""
    intermediate: Annotated[int, Field(ge=1)]
    """Width inside an MLP."""
    heads: Annotated[int, Field(ge=1)]
    """Of queries."""
    kv_heads: Annotated[int, Field(ge=1)]
    """Of keys and values."""
    head_size: Annotated[int, Field(ge=1)]
    vocab: Annotated[int, Field(ge=1)]
    tied: bool
    """The embedding is the head too."""
    attention_bias: bool = False
    """Queries, keys and values have biases, as in Qwen2."""


_OF_A_REQUEST = set("model messages max_tokens max_completion_tokens temperature seed stop stream n".split())
"""What a recipe cannot set, since the stages do, or read the answer by it."""


class Requests(Section):
    """How a server is asked. Nothing here can change an answer."""

    at_once: Annotated[int, Field(ge=1, le=512)] = 8
    """Requests that are under way together."""
    per_minute: Annotated[float, Field(gt=0)] | None = None
    """Most requests that are begun in a minute, evenly spaced; none: as fast as the server answers."""
    timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """Longest wait for an answer, or for the next part of one, in seconds."""
    tries: Annotated[int, Field(ge=1)] = 8
    """Of one request, while the server is busy or not to be reached; with the pauses between them about two minutes."""
    pause_s: Annotated[float, Field(gt=0)] = 1.0
    """Before the second try, give or take half; doubled for each further one, up to a minute. A server may ask for
    more (Retry-After)."""
    length_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the room for an answer; some hosted models know the longer name only."""


class ModelConfig(Section):
    """A causal language model in Hugging Face layout, or one that a server answers for (`engine: openai`)."""

    model: str
    """Folder, relative to the recipe, or a hub id; with `engine: openai` the name that the server knows it by."""
    revision: str | None = None
    """Full 40-digit commit of the hub id. Required for hub ids, so that the same recipe means the same model."""
    chat_template: str | None = None
    """For a base model that comes without a chat template: a Jinja file or the folder of another model, relative to the
    recipe, or `plain`, the bare text."""
    shape: Annotated[ShapeFacts | None, NotIdentity] = None
    """Of a hub model, so that `plan` can count bytes and hours before it is downloaded. Then the files count."""
    engine: str = "hf"
    """Which file in engines/ runs it for elicitation and scoring."""
    device_map: Annotated[Literal["auto"] | None, NotIdentity] = None
    """With `engine: hf`: `auto` spreads the layers over all GPUs, and what they cannot hold over the main memory. None:
    all on one GPU. Alignment in one process spreads a teacher in the same way, over GPUs alone."""
    load_in_4bit: bool = False
    """With `engine: hf`: generate and score with linear layers in 4-bit NF4, in about 0.3 of the memory of bfloat16,
    and with somewhat other answers. What is trained is told by `align.adapter` and `distill`."""
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """With `engine: hf`: of the weights that generate and score. None: bfloat16 on a GPU, float32 on a CPU."""
    base_url: str | None = None
    """With `engine: openai`: the server's address up to and with /v1, e.g. http://127.0.0.1:8080/v1."""
    api_key_env: Annotated[str | None, NotIdentity] = None
    """Environment variable that holds the server's key. The key itself is never written down."""
    plain_http: Annotated[bool, NotIdentity] = False
    """Allow http:// to another machine, where everyone on the way can read prompts, answers and the key."""
    requests: Annotated[Requests, NotIdentity] = Requests()
    """With `engine: openai`: how the server is asked."""
    extra_body: dict[str, Any] = {}
    """With `engine: openai`: what else each request says, as the server's manual has it, e.g. `{min_p: 0}`."""

    @field_validator("engine")
    @classmethod
    def _there_is_such_an_engine(cls, engine: str) -> str:
        known = components.names("engines")
        if engine not in known:
            near = components.near(engine, "engines")
            raise ValueError(f"no engine named `{engine}`{near}; there are: {', '.join(known)}")
        return engine

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name_and_not_the_key(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            # The text is not repeated: it may be the key.
            raise ValueError("is not the name of an environment variable, like TEACHER_KEY; never put the key itself")
        return name

    @field_validator("base_url")
    @classmethod
    def _has_one_spelling(cls, text: str | None) -> str | None:
        # Whether plain http will do is asked below, where all fields are known.
        return None if text is None else server_address.checked(text, is_plain_http_allowed=True)

    @model_validator(mode="after")
    def _server_fields_go_together(self) -> Self:
        if self.base_url is not None:
            server_address.checked(self.base_url, self.plain_http)
        if self.engine == "openai":
            if self.base_url is None:
                raise ValueError("engine `openai` needs `base_url`, e.g. http://127.0.0.1:8080/v1")
            if given := {"revision", "chat_template", "shape"} & self.model_fields_set:
                raise ValueError(f"{', '.join(sorted(given))}: a server's model has none here; leave it out")
            if taken := _OF_A_REQUEST & self.extra_body.keys():
                raise ValueError(f"extra_body: {', '.join(sorted(taken))}: the tool sets this itself")
        elif given := {"base_url", "api_key_env", "plain_http", "requests", "extra_body"} & self.model_fields_set:
            raise ValueError(f"{', '.join(sorted(given))}: only engine `openai` asks a server, this is `{self.engine}`")
        return self

    @model_validator(mode="after")
    def _torch_loads_it_as_told(self) -> Self:
        given = {"device_map", "load_in_4bit", "dtype"} & self.model_fields_set
        if given and self.engine != "hf":
            raise ValueError(f"{', '.join(sorted(given))}: only engine `hf` loads with torch, this is `{self.engine}`")
        return self


class StyleConfig(Section):
    """One way of asking for a rationale."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """What drafts, scores and arms call it."""
    instruction: str = ""
    """Stands before the task's description in the prompt; what asks for `<ans></ans>` is added after it."""
    has_opener: bool = True
    """The prompt ends with `Let's think step by step.` Without it the answer begins as the teacher likes."""


STYLES = tuple(StyleConfig(**asdict(style)) for style in prompts.STYLES)


class ElicitConfig(Section):
    """The teacher drafts questions and rationales."""

    questions: Annotated[int, Field(ge=2)] = 250
    """Draft questions per task (ARTE: 250)."""
    per_prompt: Annotated[int, Field(ge=1, le=20)] = 5
    """Questions asked for in one prompt (ARTE: 5)."""
    same_seeds: Annotated[int, Field(ge=1)] = 8
    """Prompts in a row that show the same three seeds, before the next three: the engine encodes them once."""
    styles: Annotated[tuple[StyleConfig, ...], Field(min_length=1)] = STYLES
    """The rationales of each question, one per style (ARTE: four prompts; the default: the slots of its Table 12)."""
    task_styles: dict[str, Annotated[tuple[StyleConfig, ...], Field(min_length=1)]] = {}
    """Task name -> styles of its own, in place of `styles` (ARTE: four prompts written by hand for each task)."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """For questions. Rationales are drafted at the same temperature (not given in the paper)."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """ROUGE-L with a seed, validation or test question or another new one, 0-1, from which a question is dropped
    (Self-Instruct: 0.7). None drops equal ones only: for short commands, and tasks whose questions are made alike."""
    attempts: Annotated[int, Field(ge=1), NotIdentity] = 20
    """Give up, between two rounds, after this many times the prompts that would do if every question were usable, and
    after a tenth of that if not one was tagged. What was written is kept: a higher number goes on from there."""
    max_question_tokens: Annotated[int, Field(ge=16)] = 512
    """Room for one answer to the question prompt."""
    max_rationale_tokens: Annotated[int, Field(ge=8)] = 256
    """Room for one rationale with its answer."""

    @field_validator("styles", "task_styles")
    @classmethod
    def _style_names_differ(cls, given: Any) -> Any:
        for styles in given.values() if isinstance(given, dict) else [given]:
            names = [style.name for style in styles]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"two styles are named `{twice}`; drafts are told apart by it")
        return given

    def styles_of(self, task: str) -> tuple[StyleConfig, ...]:
        """The styles for one task."""
        return self.task_styles.get(task, self.styles)


_PAIRING = ("min_gap", "ties", "strength", "question_pairs")
"""Fields of `prefer` that are read once the scores are there."""


class PreferConfig(Section):
    """Every draft is scored by how much it helps the student; best and worst become pairs."""

    signal: str = "icl_accuracy"
    """Which file in signals/ scores a draft."""
    exam_size: Annotated[int, Field(ge=4)] = 40
    """Validation items per task that score a draft (ARTE: 40)."""
    exam: Literal["stratified", "irt"] = "stratified"
    """How they are chosen: drawn with the kinds of answers in proportion, or those that discriminate most between the
    respondents (ARTE). With fewer than 8 respondents `irt` warns and draws instead."""
    respondents: tuple[ModelConfig, ...] = ()
    """Models that answer the validation items beside the student, for `exam: irt` (ARTE: four)."""
    respondent_shots: Annotated[tuple[Annotated[int, Field(ge=0, le=8)], ...], Field(min_length=1)] = (0, 1, 2, 3)
    """Each model is a respondent once for each number of solved examples, which are seeds (ARTE: 0 to 3)."""
    respondent_hands: Annotated[int, Field(ge=1)] = 1
    """And that for this many draws of the examples: 3 make ten respondents of the student alone."""
    respondent_tokens: Annotated[int, Field(ge=4)] = 128
    """Room for one answer of a respondent."""
    budget: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the exam that drafts answer, by the text that the student reads and writes. 1: every draft answers all.
    Below, drafts race (racing.py): who is clearly in the middle of its question is asked less."""
    min_gap: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Smallest difference of two scores that makes a pair."""
    ties: Literal["drop", "equal"] = "drop"
    """What becomes of two drafts that the exam cannot tell apart. The paper does not say. `drop`: those whose gap is
    below `min_gap` are dropped. `equal`: those whose gap has 0 in its 95% interval, by resampled exams, make a pair
    that DPO draws together (after MTPL, arXiv:2409.07268); of the others, gaps below `min_gap` are dropped."""
    strength: Literal["ignore", "margin", "smooth", "drop"] = "ignore"
    """What is made of how sure a gap is, by resampled exams (after Secrets of RLHF II, arXiv:2401.06080): `margin`, DPO
    asks for a lead in proportion to it; `smooth`, the label is softened by the chance that the order turns; `drop`,
    pairs whose gap is smaller than its standard deviation are dropped."""
    question_pairs: int | Literal["quartile"] = 50
    """Question-level pairs per task: the top this-many against the bottom this-many (ARTE, sec. 4.1: 50), or
    `quartile`: the top quarter against the bottom quarter, matched by lot (ARTE, sec. 3.3)."""

    trains_student: ClassVar[bool] = False
    """Whether the signal takes training steps on the student, which only engine `hf` can."""

    def check_student(self, student: ModelConfig) -> None:
        """Raises ValueError when the signal cannot be taken of the student."""
        if self.trains_student and student.engine != "hf":
            raise ValueError(
                f"prefer.signal: `{self.signal}` trains the student for one step, which only engine `hf` can; set"
                " `student.engine: hf`, or choose another signal"
            )

    @property
    def scoring(self) -> PreferConfig:
        """What scores depend on: the fields that only say how drafts are paired are at their defaults."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in _PAIRING})

    @field_validator("question_pairs", mode="before")
    @classmethod
    def _is_a_number_or_quartile(cls, value: Any) -> Any:
        if value != "quartile" and not (isinstance(value, int) and value >= 0):
            raise ValueError(f"expected a number from 0, or `quartile`, got {value!r}")
        return value

    @field_validator("respondent_shots")
    @classmethod
    def _no_number_of_shots_twice(cls, shots: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(shots)) < len(shots):
            raise ValueError(f"{list(shots)} has a number twice; `respondent_hands` draws other examples")
        return shots


class AlignConfig(Section):
    """The teacher learns the student's preferences by DPO."""

    adapter: Literal["lora", "qlora", "full"] = "lora"
    """`lora`, `qlora` (LoRA while the other weights are 4-bit NF4), or `full`: all weights learn. Not in the paper."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the pull towards the original teacher. Not given in the paper; TRL's default."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Highest one. None: 5e-6 for an adapter (ours), 1e-7 for `full` (ARTE: 1e-7, too small for an adapter)."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the pairs (ARTE: 1)."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Pairs per optimizer step (ARTE: 16)."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps with rising learning rate, then cosine (ARTE: 0.1)."""
    margin_scale: Annotated[float, Field(gt=0)] = 1.0
    """With `prefer.strength: margin`: lead of the reward that a score gap of 1 asks for."""
    tie_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the squared difference of the rewards of an equal pair, with `prefer.ties: equal`. Ours."""
    lora_rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the adapter on all linear layers."""
    device_batch: Annotated[int, Field(ge=1)] = 4
    """Pairs that go through the model at once in one process. Lower it when memory runs out."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Training processes, one per GPU, through `accelerate launch`; each holds the whole model. `batch` is a multiple
    of `device_batch` times this."""
    max_tokens: Annotated[int, Field(ge=16)] = 2048
    """Pairs longer than this, prompt included, are left out and counted."""
    checkpoint_steps: Annotated[int, Field(ge=1), NotIdentity] = 200
    """Steps between two checkpoints, from which a killed training goes on."""

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate or (1.0e-7 if self.adapter == "full" else 5.0e-6)

    @property
    def chunk(self) -> int:
        """Pairs that go through the model at once in all processes."""
        return self.device_batch * self.processes

    @model_validator(mode="after")
    def _batch_is_made_of_device_batches(self) -> Self:
        if self.batch % self.chunk:
            times = f" times processes {self.processes}" if self.processes > 1 else ""
            raise ValueError(f"batch {self.batch} is not a multiple of device_batch {self.device_batch}{times}")
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
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """ROUGE-L with a seed, validation or test question or another new one, 0-1, from which a question is dropped
    (Self-Instruct: 0.7). None drops equal ones only: for short commands, and tasks whose questions are made alike."""
    attempts: Annotated[int, Field(ge=1), NotIdentity] = 20
    """Give up, between two rounds, after this many times the prompts that would do if every question were usable, and
    after a tenth of that if not one was tagged. What was written is kept: a higher number goes on from there."""
    max_question_tokens: Annotated[int, Field(ge=16)] = 512
    """Room for one answer to the question prompt."""
    max_rationale_tokens: Annotated[int, Field(ge=8)] = 256
    """Room for one rationale with its answer."""
    check_answers: bool = False
    """Drop the rationales whose answer is not the question's target. How many there are is counted either way."""


@dataclass(frozen=True)
class Asks:
    """What a method costs beside the rows, each in units of one row: `plan` counts with it."""

    sequences: int = 1
    """That the student learns from, in one pass."""
    student_answers: int = 0
    """That the student writes."""
    teacher_answers: int = 0
    """That a teacher writes."""
    teacher_scores: int = 0
    """Texts that a teacher reads."""


class DistillConfig(Section):
    """The student is trained on the tailored rows. Options beyond `method` are the method's own (learning.py)."""

    method: str = "sft"
    """Which file in methods/ trains."""
    has_tutors: ClassVar[bool] = False
    """Whether the method asks teachers beside the rows; learning.TutoredConfig then says which."""

    @property
    def asks(self) -> Asks:
        """What the method costs."""
        return Asks()


class CalibrateConfig(Section):
    """On which rows the importance matrix of quantization is taken, and what each matrix costs in fewer bits."""

    file: str | None = None
    """UTF-8 text, or `.jsonl` rows with `text`, relative to the recipe, in place of the tailored rows. None: these, and
    for a student that is packaged as it is a built-in text."""
    rows: Annotated[int, Field(ge=1)] = 256
    """Rows whose activations say how much a column matters."""
    sensitivity_rows: Annotated[int, Field(ge=1)] = 64
    """Other rows, on which each matrix in fewer bits is compared with the float one."""
    held_out: Annotated[int, Field(ge=1)] = 64
    """Rows that neither of them sees, kept for comparisons."""
    max_tokens: Annotated[int, Field(ge=16)] = 1024
    """Rows longer than this are left out."""


class PackageConfig(Section):
    """The student becomes candidates. Options beyond `exporter` are the exporter's own."""

    exporter: str = "gguf"
    """Which file in exporters/ writes the candidates."""

    @property
    def needs_calibration(self) -> bool:
        """Whether the exporter reads the artifact of `calibrate`."""
        return False

    @property
    def measures_tensors(self) -> bool:
        """Whether it reads what each matrix costs in fewer bits, which takes a run of the student per matrix."""
        return False

    def problems(self, tensors: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Why it cannot be done for a student with these tensors: said before anything is trained."""
        return []


class ValidateConfig(Section):
    """Every candidate is checked on golden cases and on the task's test items."""

    golden_cases: Annotated[int, Field(ge=24)] = 24
    """Prompts that a candidate must reproduce: six odd ones, plain questions of the task, and general ones where these
    are too few."""
    first_token_kl_max: Annotated[float, Field(gt=0)] = 0.5
    """Largest KL, in nats, of a candidate's first-token distributions from the float student's, when its matrices have
    fewer than 6.5 bits per weight. From there on the limit is 0.25, from 8 bits on 0.1, of floats 0.02."""
    answer_kl_max: Annotated[float, Field(gt=0)] = 0.1
    """Largest mean KL over all positions of the golden answers, likewise: from 6.5 bits on the limit is 0.05, from 8
    bits on 0.02, of floats 0.002. Types of two bits may ask for more."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """Room for one answer."""
    context: Annotated[int, Field(ge=64)] = 1024
    """Context that the app reserves, in tokens; the KV cache is counted for it."""
    gate: Literal["generation", "likelihood"] = "generation"
    """What the accuracy gate looks at for questions with options: written answers, or the likeliest option. Both are
    shown; questions without options are always answered in writing."""
    grammar: bool = True
    """Take the accuracy within the task's grammar too, where it has one and the runtime knows grammars."""
    held_out_tokens: Annotated[int, Field(ge=1)] = 2048
    """Answer tokens of test items at which a candidate's distribution is compared with the float student's."""
    lm_eval: tuple[str, ...] = ()
    """Tasks of EleutherAI's lm-evaluation-harness to run as well, by name (`pip install edgedistill[lm-eval]`). They
    are shown, and decide nothing."""
    lm_eval_items: Annotated[int, Field(ge=1)] | None = 100
    """Documents of each of these tasks, the first ones. None: all."""

    @model_validator(mode="after")
    def _an_answer_leaves_room_for_a_prompt(self) -> Self:
        if self.max_tokens >= self.context:
            raise ValueError(f"max_tokens {self.max_tokens} leaves no room for a prompt in a context of {self.context}")
        return self


class TextConfig(Section):
    """Running text on which candidates of a model without a task are compared with its float form."""

    file: str | None = None
    """UTF-8 text, or `.jsonl` rows with `text`, relative to the recipe. None: the built-in text."""
    tokens: Annotated[int, Field(ge=64)] = 4096
    """Of the text's beginning that are read."""
    window: Annotated[int, Field(ge=32)] = 256
    """Tokens that are read in one go; the next ones begin anew."""
    perplexity_ratio_max: Annotated[float, Field(gt=1)] = 1.05
    """Largest perplexity of a candidate over the float model's; the far end of the 95% interval has to keep it."""
    kl_mean_max: Annotated[float, Field(gt=0)] = 0.1
    """Largest mean KL, in nats per token, of a candidate's distributions from the float model's."""


ANY_DISTILL = Annotated[DistillConfig, _Chosen("methods", "method", "sft")]
ANY_PACKAGE = Annotated[PackageConfig, _Chosen("exporters", "exporter", "gguf")]
ANY_PREFER = Annotated[PreferConfig, _Chosen("signals", "signal", "icl_accuracy")]

_ONE_OR_SEVERAL = BeforeValidator(lambda given: given if isinstance(given, list | tuple) else [given])
SOME_METHODS = Annotated[tuple[ANY_DISTILL, ...], _ONE_OR_SEVERAL]
"""One method's settings, or a list of them."""
SOME_PACKAGES = Annotated[tuple[ANY_PACKAGE, ...], _ONE_OR_SEVERAL]
"""One exporter's settings, or a list of them."""
