"""Groups of drafts: disjoint, from a seed, held against items that scored none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.artifacts import Drafts, Preferences
from edgedistill.comparison_sections import MethodsConfig
from edgedistill.errors import StageFailed
from edgedistill.files import read_rows, write_rows
from edgedistill.methods.sft import Config
from edgedistill.models import Model
from edgedistill.stages import gain as module
from edgedistill.stages.gain import gain as stage

GROUPS = MethodsConfig(groups=3, group_size=2, max_tokens=8)


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    rows = [
        {"id": f"counting/{n}/bare", "task": "counting", "question": f"count to {n}", "answer": str(n),
         "style": "bare", "rationale": f"<ans>{n}</ans>"}
        for n in range(9)
    ]  # fmt: skip
    return Drafts(write_rows(tmp_path / "drafts" / "drafts.jsonl", rows).parent)


@pytest.fixture
def rated(tmp_path: Path) -> Preferences:
    """All drafts but the last have a score; 20 of 24 validation items are the exam."""
    folder = tmp_path / "rated"
    scores = [{"draft_id": f"counting/{n}/bare", "task": "counting", "score": n / 8} for n in range(8)]
    write_rows(folder / "scores.jsonl", scores)
    write_rows(folder / "exam.jsonl", [{"task": "counting", "id": f"validation-{n}"} for n in range(20)])
    return Preferences(folder)


@pytest.mark.slow
def test_groups_are_disjoint_and_trained_and_held_against_the_student_as_it_comes(
    tmp_path: Path, drafts: Drafts, rated: Preferences, counting_task: Any, tiny_llama: Path
) -> None:
    """The likelihoods by a plain engine on the model before, and on one that the method itself trained."""
    from dataclasses import replace
    from statistics import fmean

    from edgedistill.engine import open_engine, user
    from edgedistill.methods import sft
    from edgedistill.prompts import plain_prompt

    student = Model(tiny_llama, "tiny")
    config = Config(epochs=4, batch=2, learning_rate=1e-2)
    gains = list(stage.function(tmp_path / "out", drafts, rated, student, [counting_task], config, GROUPS, 5).rows())
    named = [name for one in gains for name in one.drafts]
    assert [len(one.drafts) for one in gains] == [2, 2, 2] and len(set(named)) == 6
    assert "counting/8/bare" not in named, "it has no score"
    assert not (tmp_path / "out" / "work").exists()
    own = {draft.id: draft for draft in drafts.rows()}
    rows = [(plain_prompt("Count.", own[name].question), own[name].rationale) for name in gains[0].drafts]
    (tmp_path / "by-hand").mkdir()
    sft.train(tmp_path / "by-hand", rows, student, config, 5)
    held_out = counting_task.validation[20:]

    def log_prob(model: Model) -> float:
        with open_engine(model) as engine:
            prompts = [user(plain_prompt("Count.", item.question)) for item in held_out]
            found = engine.answer_log_probs(prompts, [f"<ans>{item.answer}</ans>" for item in held_out])
        return fmean(map(fmean, found))

    rise = log_prob(replace(student, path=tmp_path / "by-hand" / "model")) - log_prob(student)
    assert gains[0].log_prob == pytest.approx(rise, abs=1e-5)
    assert rise > 0.05, "four steps on answers of this form make such answers likelier"


def test_a_group_that_was_trained_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drafts: Drafts, rated: Preferences, counting_task: Any,
    scripted: Any, new_engine: Any, model: Any,
) -> None:  # fmt: skip
    """Killed behind the second group: a rerun trains the third alone, on the same drafts, and leaves the same rows."""
    trained: list[list[str]] = []

    def train(work: Path, group: list[Any], *_: Any) -> Model:
        if len(trained) == limit:
            raise KeyboardInterrupt
        trained.append([draft.id for draft in group])
        work.mkdir(parents=True, exist_ok=True)
        return Model(work, "")

    class Asked(new_engine):  # type: ignore[misc]
        def answer_log_probs(self, prompts: Any, answers: Any) -> Any:
            return [[-1.0 - len(trained)]] * len(answers)

    monkeypatch.setattr(module, "_trained", train)
    monkeypatch.setattr(module, "open_engine", lambda _: Asked(lambda prompt, random: "<ans>20</ans>"))
    run = lambda out: stage.function(out, drafts, rated, model, [counting_task], Config(), GROUPS, 5)  # noqa: E731
    limit = 99
    whole = list(run(tmp_path / "whole").rows())
    groups = trained.copy()
    trained.clear()
    limit = 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    limit = 99
    again = list(run(tmp_path / "killed").rows())
    assert trained == groups == [list(one.drafts) for one in whole]
    assert again == whole
    assert [one.accuracy for one in whole] == [0.0] * 3 and whole[0].log_prob == -1.0


def test_too_few_drafts_or_items_fail_the_stage(
    tmp_path: Path, drafts: Drafts, rated: Preferences, counting_task: Any, model: Any
) -> None:
    few = MethodsConfig(group_size=5)
    with pytest.raises(StageFailed, match="has 8 drafts, which are fewer than two groups of 5"):
        stage.function(tmp_path / "out", drafts, rated, model, [counting_task], Config(), few, 5)
    rows = [
        *read_rows(rated.path / "exam.jsonl"),
        *({"task": "counting", "id": f"validation-{n}"} for n in range(20, 24)),
    ]
    write_rows(rated.path / "exam.jsonl", rows)
    with pytest.raises(StageFailed, match="has no validation item outside the exam"):
        stage.function(tmp_path / "out", drafts, rated, model, [counting_task], Config(), GROUPS, 5)
