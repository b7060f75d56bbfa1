"""Figures and intervals of arms against each other, by hand and against a plain bootstrap."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import fmean

import pytest

from edgedistill import comparison
from edgedistill.artifacts import Graded, GradedAnswer
from edgedistill.files import write_rows

ITEMS = {"big": 60, "small": 20}


def graded(folder: Path, right: dict[str, str], form: str = "1", shots: int = 0) -> Graded:
    """A run whose answers are given as one 0 or 1 per item of each task."""
    rows = [
        GradedAnswer(task, f"{task}-{n}", shots, hit == "1", form == "1", "x")
        for task, hits in right.items()
        for n, hit in enumerate(hits)
    ]
    write_rows(folder / "graded.jsonl", map(asdict, rows))
    return Graded(folder)


def coins(seed: str, share: float) -> dict[str, str]:
    random = Random(seed)
    return {task: "".join("01"[random.random() < share] for _ in range(n)) for task, n in ITEMS.items()}


@pytest.fixture
def arms(tmp_path: Path) -> dict[str, list[Graded]]:
    """Three runs; `arte` is right where `original` is and on some more."""
    found: dict[str, list[Graded]] = {"none": [], "original": [], "arte": []}
    none = graded(tmp_path / "none", {task: "0" * n for task, n in ITEMS.items()}, form="0")
    for run in range(3):
        base, more = coins(f"base {run}", 0.4), coins(f"more {run}", 0.2)
        both = {task: "".join(max(a, b) for a, b in zip(base[task], more[task], strict=True)) for task in ITEMS}
        found["none"].append(none)
        found["original"].append(graded(tmp_path / f"original-{run}", base))
        found["arte"].append(graded(tmp_path / f"arte-{run}", both))
    return found


def line(lines, **asked):
    (found,) = [one for one in lines if all(one[name] == value for name, value in asked.items())]
    return found


def share(runs: list[Graded], task: str) -> list[float]:
    return [fmean(row.right for row in run.rows() if row.task == task) for run in runs]


def test_accuracy_is_the_mean_over_runs_of_each_task_and_two_ways_over_all(arms):
    results, _ = comparison.compare(arms, 0)
    big, small = fmean(share(arms["arte"], "big")), fmean(share(arms["arte"], "small"))
    values = {"big": big, "small": small, "mean of tasks": (big + small) / 2, "pooled": (60 * big + 20 * small) / 80}
    for scope, value in values.items():
        found = line(results, arm="arte", scope=scope)
        assert found["accuracy"] == pytest.approx(value, abs=1e-6)
        assert found["ci_low"] < value < found["ci_high"]
    assert line(results, arm="arte", scope="big")["by_run"] == pytest.approx(share(arms["arte"], "big"), abs=1e-6)
    assert [line(results, arm="arte", scope=scope)["n"] for scope in values] == [60, 20, 80, 80]


def test_differences_are_paired_and_say_which_way(arms):
    _, differences = comparison.compare(arms, 0)
    found = line(differences, arm="arte", against="original", scope="pooled")
    apart = [fmean(b.right - a.right for a, b in zip(o.rows(), t.rows(), strict=True)) for o, t in
             zip(arms["original"], arms["arte"], strict=True)]  # fmt: skip
    assert found["by_run"] == pytest.approx(apart, abs=1e-6)
    assert found["difference"] == pytest.approx(fmean(apart), abs=1e-6)
    assert (found["verdict"], found["ci_low"] > 0) == ("better", True)
    assert line(differences, arm="none", against="original", scope="pooled")["verdict"] == "worse"
    assert {one["against"] for one in differences} == {"original"}


def test_one_run_has_the_interval_of_a_plain_bootstrap(arms):
    """Items of one task drawn again with Python's own random numbers; no part for runs."""
    one = {name: runs[:1] for name, runs in arms.items()}
    _, differences = comparison.compare(one, 0)
    found = line(differences, arm="arte", against="original", scope="big")
    pairs = zip(arms["original"][0].rows(), arms["arte"][0].rows(), strict=True)
    apart = [after.right - before.right for before, after in pairs if before.task == "big"]
    random = Random(0)
    drawn = sorted(fmean(random.choices(apart, k=60)) for _ in range(4000))
    assert found["ci_low"] == pytest.approx(drawn[100], abs=0.02)
    assert found["ci_high"] == pytest.approx(drawn[3900], abs=0.02)


def test_runs_that_disagree_widen_the_interval(tmp_path):
    """Means of 0.2, 0.3 and 0.4, of which 100 items explain little: t with 2 degrees of freedom, 4.303 x 0.1 / √3 =
    0.25. One run of 0.3 alone has 1.96 x sqrt(0.21 / 100) = 0.09."""
    base = {"t": "0" * 100}
    arms = {
        "original": [graded(tmp_path / f"o{run}", base) for run in range(3)],
        "arte": [graded(tmp_path / f"a{run}", {"t": "1" * n + "0" * (100 - n)}) for run, n in enumerate((20, 30, 40))],
    }
    _, differences = comparison.compare(arms, 0)
    found = line(differences, arm="arte", against="original", scope="t")
    assert found["difference"] == pytest.approx(0.3)
    assert found["ci_high"] - 0.3 == pytest.approx(0.26, abs=0.04)
    _, differences = comparison.compare({name: runs[1:2] for name, runs in arms.items()}, 0)
    assert line(differences, arm="arte", against="original", scope="t")["ci_high"] - 0.3 == pytest.approx(
        0.09, abs=0.01
    )


def test_nothing_differing_is_not_taken_for_certainty(tmp_path):
    """Tango's interval of no change in 100 items: z² / (n + z²) = 0.0370; Wilson's of none right is the same."""
    same = {name: [graded(tmp_path / name, {"t": "0" * 100})] for name in ("original", "arte")}
    results, differences = comparison.compare(same, 0)
    found = line(differences, arm="arte", scope="t")
    assert (found["ci_low"], found["ci_high"], found["verdict"]) == (
        pytest.approx(-0.0370, abs=1e-4),
        pytest.approx(0.0370, abs=1e-4),
        "unclear",
    )
    assert line(results, arm="arte", scope="t")["ci_high"] == pytest.approx(0.0370, abs=1e-4)


def test_format_rate_stands_beside_accuracy(arms):
    results, _ = comparison.compare(arms, 0)
    assert line(results, arm="none", scope="pooled")["format_rate"] == 0.0
    assert line(results, arm="arte", scope="pooled")["format_rate"] == 1.0


def test_the_papers_effect_stands_beside_ours_over_all_tasks_only(tmp_path):
    """ARTE minus Original Teacher: +4.41 points zero-shot, +3.40 three-shot; one-style at three shots: +1.32."""
    for shots, expected in (
        (0, {"original": 0.0441, "one-style": None}),
        (3, {"original": 0.034, "one-style": 0.0132}),
    ):
        arms = {
            name: [graded(tmp_path / f"{name}{shots}", coins(name, 0.5), shots=shots)]
            for name in ("original", "one-style", "arte")
        }
        _, differences = comparison.compare(arms, shots)
        for against, paper in expected.items():
            found = line(differences, arm="arte", against=against, scope="mean of tasks")["paper"]
            assert found == (pytest.approx(paper) if paper is not None else None)
            assert line(differences, arm="arte", against=against, scope="big")["paper"] is None


def test_arms_on_other_items_are_not_compared(tmp_path):
    arms = {"original": [graded(tmp_path / "o", {"t": "01"})], "arte": [graded(tmp_path / "a", {"t": "011"})]}
    with pytest.raises(AssertionError, match="other items"):
        comparison.compare(arms, 0)
