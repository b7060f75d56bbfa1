"""The score of a draft, with the real engine and counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill import task
from edgedistill.artifacts import Draft
from edgedistill.engine import open_engine, user
from edgedistill.files import write_rows
from edgedistill.models import Model
from edgedistill.prompts import extract_answer
from edgedistill.signals.icl_accuracy import Config, score

pytest.importorskip("torch")


def test_a_score_is_the_students_one_shot_accuracy(tiny_llama: Path, tmp_path: Path) -> None:
    """A random model answers nothing in tags, so the expected hits come from what it says: every item is wrong, but
    for those whose answer is made equal to what the engine gives for the same prompt, asked alone."""
    with open_engine(Model(tiny_llama, "tiny")) as student:
        folder = tmp_path / "t"
        folder.mkdir()
        (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: Say it.\nlicence: x\n")
        for part in ("seeds", "validation", "test"):
            rows = [{"id": f"{n}", "question": f"{part} {n}", "answer": "yes"} for n in range(6)]
            write_rows(folder / f"{part}.jsonl", rows)
        loaded = task.load(folder)
        drafts = [
            Draft(f"t/{n}/bare", "t", f"draft {n}", "1", "bare", f"So it is {n}. <ans>{n}</ans>") for n in range(3)
        ]
        exam = list(loaded.validation)
        done: list[int] = []
        found = score(drafts, exam, loaded, student, Config(max_tokens=8), done.append)
        assert sum(done) == 18
        for draft, result in zip(drafts, found, strict=True):
            hits = ""
            for item in exam:
                prompt = (
                    "Say it. Put the final answer in <ans></ans>.\n\n"
                    f"Question: {draft.question}\nAnswer: Let's think step by step. {draft.rationale}\n\n"
                    f"Question: {item.question}\nAnswer: Let's think step by step."
                )
                said = extract_answer(student.generate([user(prompt)], max_tokens=8)[0])
                hits += "1" if said == item.answer else "0"
            assert (result.draft_id, result.hits, result.score) == (draft.id, hits, hits.count("1") / 6)


def test_answers_are_graded_item_by_item(tmp_path: Path) -> None:
    """Two drafts, three items; the engine is scripted, and proves the order of prompts, answers and hits alone."""

    class Listed:
        def generate(self, conversations: list[list[dict[str, str]]], **_: object) -> list[str]:
            prompts = [messages[0]["content"] for messages in conversations]
            assert [("draft 0" in p, p.split("Question: ")[-1][0]) for p in prompts] == [
                (True, "a"), (True, "b"), (True, "c"), (False, "a"), (False, "b"), (False, "c"),
            ]  # fmt: skip
            return ["<ans>A</ans>", "<ans>x</ans>", "c", "<ans>x</ans> <ans>a</ans>", "<ans>B</ans>", "<ans> c </ans>"]

    (tmp_path / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: d\nlicence: x\n")
    for part in ("seeds", "validation", "test"):
        write_rows(tmp_path / f"{part}.jsonl", [{"id": x, "question": x, "answer": x} for x in "abc"])
    loaded = task.load(tmp_path)
    drafts = [Draft(f"t/{n}", "t", f"draft {n}", "1", "bare", "<ans>1</ans>") for n in range(2)]
    found = score(drafts, list(loaded.validation), loaded, Listed(), Config(), lambda n: None)  # type: ignore[arg-type]
    assert [(s.hits, s.score) for s in found] == [("100", pytest.approx(1 / 3)), ("111", 1.0)]
