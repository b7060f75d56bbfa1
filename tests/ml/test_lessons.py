"""Training with a loss of our own: averages, resuming, adapters. The lesson is the cross-entropy of fixed answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgedistill.files import read_rows, sha256_of
from edgedistill.learning import LearnConfig
from edgedistill.models import Model
from edgedistill.tutors import Tutor

pytestmark = pytest.mark.slow

ANSWERS = [[20 + n] * (1 + n % 4) for n in range(12)]


@dataclass
class Spelling:
    """Cross-entropy of each row's answer, summed over tokens. It dies at its pass number `dies_at`."""

    dies_at: int | None = None
    seen: list[Any] = field(default_factory=list)

    def count(self, items: Sequence[Any]) -> int:
        return sum(len(ANSWERS[item.row]) for item in items)

    def loss(self, model: Any, items: Sequence[Any]) -> tuple[Any, dict[str, float]]:
        import torch

        from edgedistill.ml.answer_logits import answer_logits
        from edgedistill.ml.turns import Turn

        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        self.seen.append(list(items))
        turns = [Turn([5, 6, 7], ANSWERS[item.row]) for item in items]
        total = torch.nn.functional.cross_entropy(*answer_logits(model, turns), reduction="sum")
        return total, {"divergence": 2 * total.item()}


def learned(out: Path, student: Path, lesson: Spelling, **options: Any) -> int:
    from edgedistill.ml.lessons import learn

    out.mkdir(exist_ok=True)
    config = LearnConfig(**{"learning_rate": 1e-3, "batch": 6, "epochs": 2, **options})
    lengths = [3 + len(answer) for answer in ANSWERS]
    tutors = [Tutor(Model(student, name)) for name in "ab"]
    return learn(out, Model(student, ""), lesson, lengths, config, 0, tutors)["steps"]


def curve(out: Path) -> list[dict[str, Any]]:
    return list(read_rows(out / "curve.jsonl"))


def test_pieces_of_a_batch_learn_the_same(tiny_llama: Path, tmp_path: Path) -> None:
    """One step on all rows, whole and in pieces: the base model's mean loss per token, the same gradient and weights.

    Adam's first step moves each weight by the learning rate, up or down by its gradient's sign alone.
    """
    import torch
    from safetensors.torch import load_file

    from edgedistill.ml import weights
    from edgedistill.ml.lessons import Item

    model = weights.load(Model(tiny_llama, ""), torch.float32, 64)
    with torch.no_grad():
        total, _ = Spelling().loss(model, [Item(n, n, 0) for n in range(12)])
    expected = float(total) / sum(map(len, ANSWERS))
    base = load_file(tiny_llama / "model.safetensors")
    found, moved = [], []
    for pieces in (12, 4, 2):
        out = tmp_path / str(pieces)
        assert learned(out, tiny_llama, Spelling(), batch=12, device_batch=pieces, epochs=1, warmup=0.0) == 1
        found += curve(out)
        trained = load_file(out / "model/model.safetensors")
        moved.append(torch.cat([(trained[name] - base[name]).flatten() for name in base]))
    for row in found:
        assert row["loss"] == pytest.approx(expected, rel=0.01)  # bfloat16 products, where the hardware has them
        assert row["divergence"] == pytest.approx(2 * row["loss"], rel=1e-4)  # averaged as the loss is
        assert row["grad_norm"] == pytest.approx(found[0]["grad_norm"], rel=0.02)
    assert float(moved[0].abs().max()) > 5e-4  # the weights are stored in bfloat16, and so is how far they went
    assert all(float(torch.cosine_similarity(moved[0], other, dim=0)) > 0.98 for other in moved[1:])


def test_a_tutor_has_its_turn_for_a_whole_step(tiny_llama: Path, tmp_path: Path) -> None:
    lesson = Spelling()
    learned(tmp_path / "out", tiny_llama, lesson, device_batch=2, epochs=6)
    items = [item for passed in lesson.seen for item in passed]
    assert [item.place for item in items] == list(range(72))
    by_step = [{item.tutor for item in items[start : start + 6]} for start in range(0, 72, 6)]
    assert all(len(tutors) == 1 for tutors in by_step)
    assert set.union(*by_step) == {0, 1}


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_interrupted_and_run_again_gives_the_same_bytes(
    lora_rank: int | None, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"epochs": 4, "lora_rank": lora_rank, "checkpoint_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path / "broken", tiny_llama, Spelling(dies_at=5), **options)
    lesson = Spelling()
    learned(tmp_path / "broken", tiny_llama, lesson, **options)
    assert "goes on from step 4 of 8" in capsys.readouterr().err
    assert len(lesson.seen) == 4
    learned(tmp_path / "whole", tiny_llama, Spelling(), **options)
    for name in ("model/model.safetensors", "curve.jsonl"):
        assert sha256_of(tmp_path / "broken" / name) == sha256_of(tmp_path / "whole" / name)
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["curve.jsonl", "model"]
