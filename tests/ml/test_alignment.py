"""Where a teacher lies while it is trained, on machines with GPUs that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.errors import UsageError
from edgedistill.models import Loading, Model
from edgedistill.placement import GIB, Machine
from edgedistill.sections import AlignConfig

pytest.importorskip("torch")

TWO = Machine((80 * GIB, 80 * GIB), 500 * GIB)


def places(teacher: Path, machine: Machine, gpu: int = 0, **options: Any) -> dict[str, Any]:
    from edgedistill.ml import alignment

    config = AlignConfig(**options)
    return alignment.places(Model(teacher, "", name="tiny", loading=Loading("auto")), config, machine, gpu)


def test_one_process_spreads_the_teacher_over_all_gpus_alone(tiny_llama: Path) -> None:
    """Weights that learn cannot lie in main memory, and their passes need 0.4 of each GPU."""
    room = int(80 * GIB * 0.6)
    assert places(tiny_llama, TWO) == {"device_map": "auto", "max_memory": {0: room, 1: room}}


def test_of_several_processes_each_has_the_whole_teacher_on_its_own_gpu(tiny_llama: Path) -> None:
    for gpu in (0, 1):
        placed = places(tiny_llama, TWO, gpu, processes=2, adapter="qlora")
        assert placed == {"device_map": {"": f"cuda:{gpu}"}}


@pytest.mark.parametrize(("adapter", "each"), [("full", 16), ("lora", 2)])
def test_a_teacher_that_does_not_fit_is_refused_with_its_size(tiny_llama: Path, adapter: str, each: int) -> None:
    size = each * Model(tiny_llama, "").shape().parameters
    small = Machine((size - 1, size - 1), 500 * GIB)
    with pytest.raises(UsageError, match=rf"takes {size / 2**20:.1f} MiB; GPU 1 has"):
        places(tiny_llama, small, 1, processes=2, adapter=adapter)


def test_a_4_bit_teacher_needs_main_memory_for_its_whole_weights(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from edgedistill.ml import alignment, loading

    size = 4 * Model(tiny_llama, "").shape().parameters
    monkeypatch.setattr(loading, "machine", lambda: Machine((), size - 1))
    with pytest.raises(UsageError, match=rf"is merged in main memory, which takes {size / 2**20:.1f} MiB"):
        alignment._learner(Model(tiny_llama, ""), AlignConfig(adapter="qlora"), 64, torch.device("cpu"))
