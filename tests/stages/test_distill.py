"""From tailored rows to a tuned student."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.artifacts import Student, Tailored
from edgedistill.errors import StageFailed
from edgedistill.files import read_json, read_rows, write_rows
from edgedistill.methods.sft import Config
from edgedistill.models import Model
from edgedistill.stages.distill import distill
from edgedistill.task import Task, TaskInfo

needs_torch = pytest.mark.slow

TASKS = [
    Task(name, Path(), TaskInfo(kind="text", title=name, description=f"Do {name}.", licence="apache-2.0"))
    for name in ("lights", "doors")
]


def tailored(folder: Path, count: int) -> Tailored:
    rows = [
        {
            "id": f"{task.name}/{number}",
            "task": task.name,
            "question": f"which is number {number}?",
            "answer": str(number),
            "rationale": f"It is {number}. <ans>{number}</ans>",
        }
        for task in TASKS
        for number in range(count)
    ]
    return Tailored(write_rows(folder / "rows.jsonl", rows).parent)


@needs_torch
def test_the_student_learns_each_tasks_rationales_from_its_plain_prompts(tiny_qwen2: Path, tmp_path: Path) -> None:
    """After many passes it answers `doors` and `lights` prompts, written by hand here, as the rows say."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "out"
    out.mkdir()
    config = Config(method="sft", epochs=50, batch=4, learning_rate=5.0e-3)
    student = distill.function(out, tailored(tmp_path / "rows", 2), Model(tiny_qwen2, ""), TASKS, config, 0)
    assert student == Student(out)
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    model = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    text = (
        "<|im_start|>user\nDo doors. Put the final answer in <ans></ans>.\n\nQuestion: which is number 1?\n"
        "Answer: Let's think step by step.<|im_end|>\n<|im_start|>assistant\n"
    )
    asked = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    given = model.generate(**asked, max_new_tokens=40, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(given) == "It is 1. <ans>1</ans><|im_end|>"
    counts = read_json(out / "counts.json")
    assert (counts["rows"], counts["steps"]) == (4, 50)
    assert counts["summary"].startswith("4 rows, 50 steps, loss ")
    assert len(list(read_rows(out / "curve.jsonl"))) == 50


def test_without_rows_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no tailored rows") as raised:
        distill.function(tmp_path, tailored(tmp_path, 0), Model(tmp_path, ""), TASKS, Config(), 0)
    assert "tailor" in raised.value.hint


def test_a_pilot_learns_from_every_task_as_far_as_each_has_rows() -> None:
    """Rows are grouped by task: 5 of `a`, 1 of `b`, 4 of `c`. Of 7 drawn, `b` gives its one, `a` and `c` three each."""
    from edgedistill.stages.distill import across

    tasks = ["a"] * 5 + ["b"] + ["c"] * 4
    drawn = across(tasks, 7, 0)
    assert list(drawn) == sorted(set(drawn))
    assert sorted(tasks[place] for place in drawn) == ["a", "a", "a", "b", "c", "c", "c"]
    assert across(tasks, 99, 0) == tuple(range(10))
    assert len({across(tasks, 7, seed) for seed in range(5)}) > 1, "by lot"
