"""What memory a recipe's models take: the shipped recipe with the paper's setting, on machines that are not here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgedistill import accelerators, needs, recipe, shapes
from edgedistill.needs import Need
from edgedistill.placement import GIB, Machine


def of(*overrides: str) -> dict[tuple[str, str], Need]:
    made = recipe.load("arte-bbh-gemma-2b", overrides)
    stated = {
        "teacher": shapes.stated(made.teacher.shape) if made.teacher.shape else None,
        "student": shapes.stated(made.student.shape) if made.student.shape else None,
    }
    return {(need.stage, need.how): need for need in needs.of(made, stated)}


A100 = accelerators.find("a100-80gb")
WRITES = ("elicit, tailor", "bfloat16, over all GPUs")
LEARNS = ("align", "4 bits and an adapter, in each of 8 processes")
MERGES = ("align", "merged with its adapter, in main memory")


def test_each_stage_says_what_it_loads_and_on_how_many_gpus() -> None:
    """70.55 billion weights of 2 bytes are 131.4 GiB, two GPUs with 68 GiB for weights; in 4 bits 36.8 GiB, 8 times.
    Gemma-2B has 2.506 billion weights: 4.7 GiB to answer, 16 bytes of each or 37.3 GiB to learn."""
    found = of()
    sizes = {key: (round(need.on_gpu.size / GIB, 1), needs.gpus(need, A100)) for key, need in found.items()}
    assert sizes == {
        WRITES: (131.4, 2),
        ("prefer", "bfloat16"): (4.7, 1),
        LEARNS: (36.8, 8),
        MERGES: (131.4, None),
        ("distill", "all weights learn"): (37.3, 1),
    }


def test_a_teacher_that_one_gpu_cannot_hold_is_told() -> None:
    need = of("teacher.device_map=null")["elicit, tailor", "bfloat16"]
    told = needs.problem(need, A100)
    assert told is not None
    assert told.startswith("elicit, tailor: the teacher takes 131 GiB (bfloat16), one a100-80gb has 80 GiB; ")
    assert "`device_map: auto`" in told and "`load_in_4bit: true`" in told
    in_4bit = of("teacher.device_map=null", "teacher.load_in_4bit=true")["elicit, tailor", "4 bits"]
    assert needs.problem(in_4bit, A100) is None


def test_a_gpu_that_is_smaller_than_a_layer_holds_none_of_it() -> None:
    small = accelerators.Accelerator("small", "s", 1, 1, 2.0, "made up")
    assert needs.gpus(of()[WRITES], small) is None


@pytest.mark.parametrize(
    ("gpus", "main", "fitting"),
    [
        (8, 200, {WRITES, LEARNS, MERGES}),
        (8, 100, {WRITES, LEARNS}),  # no room to merge
        (2, 200, {WRITES, MERGES}),  # eight processes want a GPU each
        (1, 200, {WRITES, MERGES}),  # the rest of the layers in main memory
        (0, 200, set()),  # float32: 263 GiB
        (0, 300, {WRITES, MERGES}),  # eight processes share the main memory
    ],
)
def test_it_fits_here_as_the_stages_would_load_it(gpus: int, main: int, fitting: set[tuple[str, str]]) -> None:
    machine = Machine((80 * GIB,) * gpus, main * GIB)
    found = of()
    assert {key for key in (WRITES, LEARNS, MERGES) if needs.fits(found[key], machine)} == fitting


def test_one_process_spreads_the_teacher_while_it_learns() -> None:
    found = of("align.processes=1", "align.adapter=lora")
    need = found["align", "bfloat16 and an adapter, over all GPUs"]
    assert needs.gpus(need, A100) == 3  # 131.4 / (0.6 x 80 - 2)
    assert MERGES not in found


def test_a_server_has_its_own_memory_and_the_baseline_no_exam() -> None:
    made = recipe.load("gsm8k-qwen2.5-0.5b", ("align=null", "prefer=null"))
    assert made.student.shape
    found = needs.of(made, {"teacher": None, "student": shapes.stated(made.student.shape)})
    assert [(need.stage, need.role) for need in found] == [("distill", "student")]


def test_gpus_are_those_that_nvidia_smi_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '81000\\n40000\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert accelerators.seen() == (81000 << 20, 40000 << 20)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert accelerators.seen() == (40000 << 20,)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert accelerators.seen() == ()
    assert 0 < accelerators.free_main() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    program.unlink()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert accelerators.seen() == ()
