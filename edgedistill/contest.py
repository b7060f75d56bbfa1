"""Ways to do a thing, held against each other on one recipe: training methods, ways of pairing, signals.

    table      what differs                                 what is the same
    methods    how the student is trained                   original teacher's data, tokens that the student reads
    pairs      ties and strength of the preference pairs    drafts, scores, and the whole line after them
    signals    how drafts are scored                        drafts, and the whole line after the scores

All arms of a table are graded on the same test items, with every seed. Beside its table a signal is judged by what it
is for: how its scores rank groups of drafts, against what fine-tuning on each group really gained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from edgedistill import inputs, method_arms, spent, student_tokens
from edgedistill.artifacts import Artifact, Drafts, Gains, Graded, Preferences, Student, Tailored
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_json
from edgedistill.log import say
from edgedistill.method_arms import SEVERAL, Training
from edgedistill.models import Model
from edgedistill.recipe import Recipe
from edgedistill.schooling import learned, tutors_of
from edgedistill.sections import ArmsConfig, PreferConfig
from edgedistill.spent import Spent
from edgedistill.stages.align import align
from edgedistill.stages.elicit import elicit
from edgedistill.stages.gain import gain
from edgedistill.stages.grade import grade
from edgedistill.stages.pair import pair
from edgedistill.stages.rate import rate
from edgedistill.stages.sample import sample
from edgedistill.stages.tailor import tailor
from edgedistill.store import Store
from edgedistill.task import Task
from edgedistill.tutors import Tutor

A = TypeVar("A", bound=Artifact)

OWN = "test items"
"""The name of the tasks' own test items, beside those of `--test-items`."""


@dataclass(frozen=True)
class Entry:
    """One arm with one seed."""

    arm: str
    graded: dict[str, Graded]
    """By set of test items."""
    spent: Spent | None
    """On what differs between the arms; None where it was taken from the store and not timed."""
    tokens: int
    """That the student read in training, padding left out."""


@dataclass(frozen=True)
class Judged:
    """All signals on the drafts of one seed."""

    rated: dict[str, Preferences]
    """By signal."""
    gains: Gains


@dataclass
class Contest:
    """What the report reads. A table is a list of runs, and a run has one entry per arm."""

    seeds: tuple[int, ...]
    tests: dict[str, list[Task]]
    methods: list[list[Entry]] = field(default_factory=list)
    pairs: list[list[Entry]] = field(default_factory=list)
    signals: list[list[Entry]] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)


def contest(store: Store, recipe: Recipe, test_items: Path | None = None) -> Contest:
    """Run every arm of every table with every seed; what is cached, or shared by arms, is done once."""
    check(recipe)
    tasks, teacher, student = inputs.open_all(recipe)
    assert teacher
    tests = {OWN: tasks}
    if test_items:
        tests[test_items.resolve().name] = inputs.open_all(recipe, test_items=test_items)[0]
    line = _Line(store, recipe, tests, teacher, student)
    found = Contest(line.seeds, tests)
    for seed in line.seeds:
        say(f"seed {seed}")
        found.methods.append(line.methods(seed))
        found.pairs.append(line.pairs(seed))
        found.signals.append(line.signals(seed))
        if recipe.methods.signals:
            found.judged.append(line.judged(seed))
    return found


def check(recipe: Recipe) -> None:
    """Raises UsageError when the recipe cannot be compared, before anything is run."""
    asked = recipe.methods
    if not recipe.distill:
        raise UsageError(
            f"recipe `{recipe.name}` trains nothing, and methods are compared by what they train",
            "add `teacher`, `tasks` and `distill`",
        )
    if (asked.pairs or asked.signals) and not (recipe.prefer and recipe.align):
        raise UsageError(
            f"recipe `{recipe.name}` has no `prefer` and `align`, and ways of pairing and signals are compared by them",
            "add the two sections, or leave these tables out: `--set methods.pairs=[] --set methods.signals=[]`",
        )
    for arm in asked.methods:
        method_arms.trainings(recipe, arm)
    if SEVERAL in asked.methods and not _has_teachers(recipe) and not recipe.align:
        raise UsageError(
            f"methods: arm `{SEVERAL}` has one teacher: recipe `{recipe.name}` has no `align` to make a second",
            f"name others as `methods.options.{SEVERAL}.teachers`, or leave the arm out of `methods.methods`",
        )


def _has_teachers(recipe: Recipe) -> bool:
    return bool(recipe.methods.options.get(SEVERAL, {}).get("teachers"))


@dataclass(frozen=True)
class _Line:
    """The stages on one recipe."""

    store: Store
    recipe: Recipe
    tests: dict[str, list[Task]]
    teacher: Model
    student: Model
    known_drafts: dict[int, Drafts] = field(default_factory=dict)
    """By seed."""
    known_scores: dict[tuple[str, int], tuple[Preferences, Spent | None]] = field(default_factory=dict)
    """By signal and seed."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.recipe.seed, self.recipe.seed + self.recipe.methods.seeds))

    @property
    def tasks(self) -> list[Task]:
        return self.tests[OWN]

    def methods(self, seed: int) -> list[Entry]:
        """The same data, written by the original teacher; as many rows of it as each method may read."""
        steps = {arm: method_arms.trainings(self.recipe, arm) for arm in self.recipe.methods.methods}
        if not steps:
            return []
        most = max(training.rows for own in steps.values() for training in own)
        data = self._data(self.teacher, most, seed)
        found = []
        for arm, own in steps.items():
            say(f"seed {seed}, method {arm}")
            others = [Tutor(self._aligned_teacher(seed))] if arm == SEVERAL and not _has_teachers(self.recipe) else []
            found.append(self._trained(arm, data, self.teacher, own, seed, others))
        return found

    def pairs(self, seed: int) -> list[Entry]:
        """The recipe's own signal scores the drafts once; its scores are paired in each of the ways."""
        found = []
        for arm in self.recipe.methods.pairs:
            say(f"seed {seed}, pairs {arm}")
            aligned, cost = self._aligned(self._own_signal, method_arms.pair_config(self.recipe, arm), seed)
            found.append(replace(self._taught_by(arm, aligned, seed), spent=cost))
        return found

    def signals(self, seed: int) -> list[Entry]:
        """Each signal's scores, paired in the plain way without a smallest gap."""
        found = []
        for arm in self.recipe.methods.signals:
            say(f"seed {seed}, signal {arm}")
            _, cost = self._rated(arm, seed)
            aligned, _ = self._aligned(arm, method_arms.signal_config(self.recipe, arm), seed)
            found.append(replace(self._taught_by(arm, aligned, seed), spent=cost))
        return found

    def judged(self, seed: int) -> Judged:
        """What the signals say of the drafts, and what groups of these are really worth."""
        rated = {signal: self._rated(signal, seed)[0] for signal in self.recipe.methods.signals}
        exam = next(iter(rated.values()))
        tuned = method_arms.tuned_on_groups(self.recipe)
        config = self.recipe.methods
        gains = self.store.run(gain, self._drafts(seed), exam, self.student, self.tasks, tuned, config, seed)
        return Judged(rated, gains)

    def _drafts(self, seed: int) -> Drafts:
        if seed not in self.known_drafts:
            made = self.store.run(elicit, self.teacher, self.tasks, self.recipe.elicit, seed)
            self.known_drafts[seed] = made
        return self.known_drafts[seed]

    @property
    def _own_signal(self) -> str:
        assert self.recipe.prefer is not None
        return self.recipe.prefer.signal

    def _rated(self, signal: str, seed: int) -> tuple[Preferences, Spent | None]:
        if (signal, seed) not in self.known_scores:
            config, others = method_arms.signal_config(self.recipe, signal), inputs.respondents(self.recipe)
            drafts = self._drafts(seed)
            made = self._timed(lambda: self.store.run(rate, drafts, self.student, self.tasks, config, seed, others))
            self.known_scores[signal, seed] = made
        return self.known_scores[signal, seed]

    def _aligned(self, signal: str, config: PreferConfig, seed: int) -> tuple[Model, Spent | None]:
        """The teacher after DPO on a signal's scores, paired as the config says, and what DPO took."""
        how = self.recipe.align
        assert how is not None
        paired = self.store.run(pair, self._drafts(seed), self._rated(signal, seed)[0], self.tasks, config, seed)
        aligned, cost = self._timed(lambda: self.store.run(align, paired, self.teacher, how, seed))
        return aligned.model(self.teacher), cost

    def _aligned_teacher(self, seed: int) -> Model:
        return self._aligned(self._own_signal, method_arms.pair_config(self.recipe, "plain"), seed)[0]

    def _taught_by(self, arm: str, aligned: Model, seed: int) -> Entry:
        """The student that learns from the aligned teacher's rows, as the recipe's `distill` says."""
        rows = self.recipe.methods.rows
        steps = [Training(config, rows) for config in self.recipe.distill]
        return self._trained(arm, self._data(aligned, rows, seed), aligned, steps, seed)

    def _data(self, writer: Model, rows: int, seed: int) -> Tailored:
        config = self.recipe.tailor.model_copy(update={"rows": rows})
        return self.store.run(tailor, writer, self.tasks, config, seed)

    def _trained(
        self,
        arm: str,
        data: Tailored,
        writer: Model,
        steps: Sequence[Training],
        seed: int,
        others: Sequence[Tutor] = (),
    ) -> Entry:
        """The student after all steps, graded on every set of test items."""
        model, costs, tokens = self.student, list[Spent | None](), 0
        for step in steps:
            rows = self.store.run(sample, data, [data], step.rows, seed)

            def train(model: Model = model, step: Training = step, rows: Tailored = rows) -> Student:
                found = tutors_of(self.store, self.recipe, step.config, rows, self.student, writer, self.tasks)
                return learned(self.store, step.config, rows, model, self.tasks, seed, [*found, *others])

            tuned, cost = self._timed(train)
            model = tuned.model(self.student)
            costs.append(cost)
            tokens += student_tokens.read(tuned, rows, self.student, self.tasks, step.config)
        config = ArmsConfig(shots=(0,), items=self.recipe.methods.items, max_tokens=self.recipe.methods.max_tokens)
        # The recipe's own seed: it draws the test items, and they are the same for every run.
        graded = {
            name: self.store.run(grade, model, tasks, config, self.recipe.seed) for name, tasks in self.tests.items()
        }
        known = [cost for cost in costs if cost is not None]
        return Entry(arm, graded, spent.total(known) if len(known) == len(costs) else None, tokens)

    def _timed(self, run: Callable[[], A]) -> tuple[A, Spent | None]:
        """What `run` makes, and what that took when it was made, which is kept beside the artifact's folder."""
        from edgedistill.ml.memory import give_back

        give_back()  # what an earlier stage left is not this one's
        with spent.measured() as took:
            made = run()
        beside = made.path.with_suffix(".spent.json")
        if self.store.steps[-1].status == "ran":
            write_json(beside, asdict(took))
        return made, Spent(**read_json(beside)) if beside.is_file() else None
