"""What a recipe costs: the paper's own counts, and the arithmetic by hand."""

from __future__ import annotations

import pytest

from edgedistill import accelerators, cost, inputs, recipe, shapes
from edgedistill.cost import Work
from edgedistill.errors import UsageError
from edgedistill.models import Shape


@pytest.fixture(scope="module")
def paper() -> dict[tuple[str, str], Work]:
    """Stage and work of the shipped recipe with the paper's setting, which is planned without any item."""
    made = recipe.load("arte-bbh-gemma-2b")
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    assert len(tasks) == 23 and not any(task.has_items for task in tasks)
    return {(work.stage, work.what): work for work in cost.count(made, tasks)}


def test_student_calls_are_the_papers(paper):
    """ARTE: 250 questions x 4 rationales x 40 items = 40,000 for each task, 920,000 for 23."""
    work = paper["prefer", "student answers"]
    assert (work.role, work.calls) == ("student", 920_000)
    assert work.detail == "40,000 for each task: 1,000 drafts x 40 exam items"


def test_with_the_whole_validation_set_they_are_the_papers_too():
    """ARTE: 100,000 for each task, 2,300,000 for 23."""
    made = recipe.load("arte-bbh-gemma-2b", ("prefer.exam_size=100",))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    calls = {work.what: work.calls for work in cost.count(made, tasks) if work.stage == "prefer"}
    assert calls["student answers"] == 2_300_000


def test_drafts_pairs_and_rows_are_the_papers(paper):
    """250 x 23 questions in fives, four rationales each; 250 + 50 pairs per task; about 6,750 rows."""
    assert paper["elicit", "question prompts"].calls == 1_150
    assert paper["elicit", "rationales"].calls == 23_000
    assert paper["align", "pairs, at most"].calls == 6_900
    assert paper["distill", "rows"].calls == pytest.approx(6_750, rel=0.002)


def test_hours_cover_the_papers_day(paper):
    """ARTE: 8 x A100 80 GB, about one day in total."""
    made = recipe.load("arte-bbh-gemma-2b")
    on = accelerators.find("a100-80gb")
    found = [cost.hours(work, shapes.stated(getattr(made, work.role).shape), on) for work in paper.values()]
    assert sum(e.low for e in found) < 24 < sum(e.high for e in found)


WEIGHTS = 500_000_000
SHAPE = Shape("X", 10, 1, 1, 1, 1, True, {"w": (WEIGHTS,)})
MADE_UP = accelerators.Accelerator("m", "m", tflops=10, read_gb_s=100, memory_gib=8, source="made up")


def test_reading_by_hand():
    """6 million tokens x 2 x 0.5 billion = 6e15 operations at 0.3 x 10e12 are 2,000 s, a third to three times that."""
    found = cost.hours(Work("prefer", "w", "student", 10, 6_000_000, 0), SHAPE, MADE_UP)
    assert found.value == pytest.approx(2000 / 3600)
    assert (found.low, found.high) == (pytest.approx(2000 / 3600 / 3), pytest.approx(2000 / 3600 * 3))


def test_writing_by_hand():
    """4 rows of 50 tokens are 50 steps. One reads 1 GB of weights and 4 x 50 x 40 bytes of cache at 50 GB/s."""
    found = cost.hours(Work("prefer", "w", "student", 4, 0, 200), SHAPE, MADE_UP)
    assert found.value * 3600 == pytest.approx(50 * (1e9 + 8000) / 50e9)


def test_a_tiny_model_pays_for_its_launches():
    """10 layers at 1 ms: 50 steps take half a second, whatever the weights."""
    tiny = Shape("X", 10, 1, 1, 1, 1, True, {"w": (1000,)})
    found = cost.hours(Work("prefer", "w", "student", 4, 0, 200), tiny, MADE_UP)
    assert found.value * 3600 == pytest.approx(0.5)


def test_training_by_hand_on_two_devices():
    """3 passes of 1 million tokens: 3e15 operations over 2 x 3e12."""
    work = Work("align", "w", "teacher", 10, 1_000_000, 0, passes=3, kind="lora", devices=2)
    assert cost.hours(work, SHAPE, MADE_UP).value == pytest.approx(500 / 3600)


def test_training_pays_for_its_launches():
    """100 batches x 3 passes x 10 layers at 1 ms are 3 s, where the arithmetic of 1,000 tokens takes 1 ms."""
    work = Work("distill", "w", "student", 10, 1_000, 0, passes=3, kind="full", batches=100)
    assert cost.hours(work, SHAPE, MADE_UP).value * 3600 == pytest.approx(3.0)


def test_batches_are_what_goes_through_the_model_at_once(paper):
    """6,900 pairs, 2 in each of 8 processes; 23 x 294 rows, 16 at once, the last batch of a task not full."""
    assert paper["align", "pairs, at most"].batches == 23 * 19  # 300 pairs of a task in sixteens
    assert paper["distill", "rows"].batches == 23 * 19  # 294 rows in sixteens


def test_lengths_come_from_the_seeds_where_there_are_any():
    made = recipe.load("bbh-mini")
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    task = tasks[0]
    found = cost.lengths_of(task, made)
    assert found.question == pytest.approx(sum(len(seed.question) for seed in task.seeds) / len(task.seeds) / 4)
    assert found.rationale == pytest.approx(sum(len(seed.rationale) for seed in task.seeds) / len(task.seeds) / 4)


def test_the_untailored_baseline_has_no_drafts_exam_or_pairs():
    made = recipe.load("bbh-mini", ("align=null", "prefer=null"))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    assert {work.stage for work in cost.count(made, tasks)} == {"tailor", "distill"}


def test_a_style_of_one_task_counts_for_that_task():
    """Four tasks with 4 styles, one with 1: 17 rationales for each question of a task."""
    one = "{navigate: [{name: only, instruction: Walk.}]}"
    made = recipe.load("bbh-mini", (f"elicit.task_styles={one}",))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    work = {(w.stage, w.what): w for w in cost.count(made, tasks)}
    assert work["elicit", "rationales"].calls == made.elicit.questions * 17
    asked = made.prefer.exam_size * made.prefer.budget
    assert work["prefer", "student answers"].calls == made.elicit.questions * 17 * asked


def test_respondents_answer_every_validation_item():
    """Three models, once without an example and for 2 draws of 1, 2 and 3: 3 x 7 x 100 validation items, 23 tasks."""
    made = recipe.load("arte-bbh-gemma-2b", ("prefer.respondent_hands=2",))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    calls = {work.what: work.calls for work in cost.count(made, tasks)}
    assert calls["respondents' answers"] == 3 * 7 * 100 * 23


def test_influence_trains_for_a_step_on_each_draft():
    """250 questions x 4 rationales x 23 tasks; a step is a forward pass and a backward one of twice its work."""
    made = recipe.load("arte-bbh-gemma-2b", ("prefer={signal: influence}",))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    found = {(work.stage, work.what): work for work in cost.count(made, tasks)}
    assert found["prefer", "answers scored"].calls == 920_000
    assert (found["prefer", "single steps"].calls, found["prefer", "single steps"].passes) == (23_000, 3)
    assert ("prefer", "student answers") not in found


def test_racing_spends_its_share():
    made = recipe.load("arte-bbh-gemma-2b", ("prefer.budget=0.25",))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    [work] = [work for work in cost.count(made, tasks) if work.what == "student answers"]
    assert work.calls == 230_000
    assert work.detail.endswith("x 0.25, the most that racing may spend")


def test_an_unknown_accelerator_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"no accelerator named `a100-80` \(did you mean `a100-80gb`\?\); there are: "):
        accelerators.find("a100-80")


@pytest.mark.parametrize("accelerator", accelerators.TABLE, ids=lambda a: a.name)
def test_every_accelerator_names_its_source(accelerator):
    assert "https://" in accelerator.source
    assert accelerator.tflops > 0 and accelerator.read_gb_s > 0 and accelerator.memory_gib > 0


@pytest.mark.parametrize(("room", "told"), [("null", "3 teachers"), ("2", "2 teachers"), ("1", "")])
def test_teachers_that_are_in_memory_together_are_told(room, told):
    others = "[{model: models/teacher}, {model: models/student}]"
    made = recipe.load("quickstart", (f"distill={{method: on_policy, teachers: {others}, open_teachers: {room}}}",))
    tasks, *_ = inputs.open_all(made, may_fetch=False)
    (detail,) = (work.detail for work in cost.count(made, tasks) if work.what == "texts scored")
    assert detail == (f"{told} are in memory at once, beside the student" if told else "")
