"""The arms of a contest with one seed: the stages that each goes through, and what they share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from edgedistill import even_tokens, inputs, method_arms, spent
from edgedistill.artifacts import Artifact, Drafts, Gains, Graded, Preferences, Student, Tailored
from edgedistill.comparison_sections import ArmsConfig
from edgedistill.errors import StageFailed
from edgedistill.files import read_json, write_json
from edgedistill.log import say
from edgedistill.method_arms import SEVERAL, Training
from edgedistill.models import Model
from edgedistill.pace import Pace
from edgedistill.recipe import Recipe
from edgedistill.schooling import learned, tutors_of
from edgedistill.sections import PreferConfig
from edgedistill.spent import Spent
from edgedistill.stages.align import align
from edgedistill.stages.distill import LEFT_OUT
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

T = TypeVar("T")

OWN = "test items"
"""The name of the tasks' own test items, beside those of `--test-items`."""

_SPARE = 1.5
"""Rows that are written for each that the plainest arm reads: checks drop some, and other arms may need more."""


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
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows, prompts or answers that it did not learn from, by reason (stages/distill.py)."""


@dataclass(frozen=True)
class Failure:
    """An arm that could not be brought to its end."""

    table: str
    arm: str
    seed: int
    reason: str


@dataclass(frozen=True)
class Judged:
    """All signals on the drafts of one seed."""

    rated: dict[str, Preferences]
    """By signal."""
    gains: Gains


@dataclass(frozen=True)
class Line:
    """The stages on one recipe."""

    store: Store
    recipe: Recipe
    tests: dict[str, list[Task]]
    teacher: Model
    student: Model
    pace: Pace
    failures: list[Failure]
    known_rows: dict[tuple[str, int], int] = field(default_factory=dict)
    """By arm and step: rows with which it last read its share of the tokens."""
    known_drafts: dict[int, Drafts] = field(default_factory=dict)
    """By seed."""
    known_scores: dict[tuple[str, int], tuple[Preferences, Spent | None]] = field(default_factory=dict)
    """By signal and seed."""

    @property
    def tasks(self) -> list[Task]:
        return self.tests[OWN]

    def methods(self, seed: int) -> list[Entry]:
        """The same data, written by the original teacher; each method gets what makes it read like many tokens."""
        names = self.recipe.methods.methods
        if not names:
            return []
        most = max(step.rows for arm in names for step in method_arms.trainings(self.recipe, arm))
        data = self._data(self.teacher, math.ceil(_SPARE * most), seed)
        found: list[Entry] = []
        for arm in names:

            def make(arm: str = arm, wanted: int | None = found[0].tokens if found else None) -> Entry:
                others = [Tutor(self._aligned_teacher(seed))] if self._needs_another(arm) else []
                steps = method_arms.trainings(self.recipe, arm)
                return self._trained(arm, data, self.teacher, steps, seed, others, wanted)

            found += self._tried("methods", f"method {arm}", arm, seed, make)
        return found

    def pairs(self, seed: int) -> list[Entry]:
        """The recipe's own signal scores the drafts once; its scores are paired in each of the ways."""
        found: list[Entry] = []
        for arm in self.recipe.methods.pairs:

            def make(arm: str = arm) -> Entry:
                aligned, cost = self._aligned(self._own_signal, method_arms.pair_config(self.recipe, arm), seed)
                return replace(self._taught_by(arm, aligned, seed), spent=cost)

            found += self._tried("pairs", f"pairs {arm}", arm, seed, make)
        return found

    def signals(self, seed: int) -> list[Entry]:
        """Each signal's scores, paired in the plain way without a smallest gap."""
        found: list[Entry] = []
        for arm in self.recipe.methods.signals:

            def make(arm: str = arm) -> Entry:
                _, cost = self._rated(arm, seed)
                aligned, _ = self._aligned(arm, method_arms.signal_config(self.recipe, arm), seed)
                return replace(self._taught_by(arm, aligned, seed), spent=cost)

            found += self._tried("signals", f"signal {arm}", arm, seed, make)
        return found

    def judged(self, seed: int) -> Judged | None:
        """What the signals say of the drafts, and what groups of these are really worth."""

        def make() -> Judged:
            rated = {signal: self._rated(signal, seed)[0] for signal in self.recipe.methods.signals}
            exam = next(iter(rated.values()))
            tuned, config = method_arms.tuned_on_groups(self.recipe), self.recipe.methods
            gains = self.store.run(gain, self._drafts(seed), exam, self.student, self.tasks, tuned, config, seed)
            return Judged(rated, gains)

        return next(iter(self._tried("prediction", "what the signals foretell", "gain", seed, make)), None)

    def _tried(self, table: str, name: str, arm: str, seed: int, make: Callable[[], T]) -> list[T]:
        """What `make` makes; nothing, and a failure to report, where a stage fails."""
        self.pace.step(name)
        try:
            return [make()]
        except StageFailed as error:
            if isinstance(error.__cause__, OSError):  # a full disk is no arm's fault
                raise
            say(f"  {arm} failed: {error}")
            self.failures.append(Failure(table, arm, seed, str(error)))
            return []

    def _needs_another(self, arm: str) -> bool:
        return arm == SEVERAL and not method_arms.has_teachers(self.recipe)

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
            config, others = method_arms.signal_config(self.recipe, signal).scoring, inputs.respondents(self.recipe)
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
        wanted: int | None = None,
    ) -> Entry:
        """The student after all steps, graded on every set of test items; `wanted` tokens are spread over the steps."""
        model, costs, counts = self.student, list[Spent | None](), Counter[str]()
        most = max(Counter(row.task for row in data.rows()).values())
        for place, step in enumerate(steps):

            def train(rows: int, model: Model = model, step: Training = step) -> tuple[Student, Spent | None]:
                return self._taught(step, self.store.run(sample, data, [data], rows, seed), model, writer, seed, others)

            share = None if wanted is None else wanted / len(steps)
            begin = min(most, self.known_rows.get((arm, place), step.rows))
            (tuned, cost), used = even_tokens.trained(train, lambda made: _tokens(made[0]), begin, most, share)
            if wanted is not None:
                self.known_rows[arm, place] = used
            model = tuned.model(self.student)
            costs.append(cost)
            counts += Counter({name: tuned.counts().get(name, 0) for name in ("tokens", *LEFT_OUT)})
        known = [cost for cost in costs if cost is not None]
        cost = spent.total(known) if len(known) == len(costs) else None
        left_out = {name: counts[name] for name in LEFT_OUT if counts[name]}
        return Entry(arm, self._graded(model), cost, counts["tokens"], left_out)

    def _taught(
        self, step: Training, rows: Tailored, model: Model, writer: Model, seed: int, others: Sequence[Tutor]
    ) -> tuple[Student, Spent | None]:
        """The student after one method, and what its training took, what teachers wrote down for it included."""
        config = step.config
        tutors, written = self._timed(
            lambda: tutors_of(self.store, self.recipe, config, rows, self.student, writer, self.tasks),
            lambda found: [tutor.hints for tutor in found if tutor.hints],
        )
        tuned, trained = self._timed(
            lambda: learned(self.store, config, rows, model, self.tasks, seed, [*tutors, *others])
        )
        return tuned, spent.total([written, trained]) if written and trained else None

    def _graded(self, model: Model) -> dict[str, Graded]:
        config = ArmsConfig(shots=(0,), items=self.recipe.methods.items, max_tokens=self.recipe.methods.max_tokens)
        # The recipe's own seed: it draws the test items, and they are the same for every run.
        seed = self.recipe.seed
        return {name: self.store.run(grade, model, tasks, config, seed) for name, tasks in self.tests.items()}

    def _timed(
        self,
        run: Callable[[], T],
        made_of: Callable[[T], Sequence[Artifact]] = lambda made: [made],  # type: ignore[list-item]
    ) -> tuple[T, Spent | None]:
        """What `run` makes, and what that took when it was made, which is kept beside the last artifact's folder."""
        from edgedistill.ml.memory import give_back

        give_back()  # what an earlier stage left is not this one's
        begun = len(self.store.steps)
        with spent.measured() as took:
            made = run()
        artifacts = made_of(made)
        if not artifacts:  # nothing was made, and what the process held by then is no cost of it
            return made, Spent()
        beside = artifacts[-1].path.with_suffix(".spent.json")
        if any(step.status == "ran" for step in self.store.steps[begun:]):
            write_json(beside, asdict(took))
        return made, Spent(**read_json(beside)) if beside.is_file() else None


def _tokens(tuned: Student) -> int:
    return int(tuned.counts()["tokens"])
