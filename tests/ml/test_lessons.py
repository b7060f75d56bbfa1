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

        from edgedistill.ml.lessons import answer_logits
        from edgedistill.ml.turns import Turn

        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        self.seen.append(list(items))
        turns = [Turn([5, 6, 7], ANSWERS[item.row]) for item in items]
        total = torch.nn.functional.cross_entropy(*answer_logits(model, turns), reduction="sum")
        return total, {"divergence": float(self.count(items))}


def learned(out: Path, student: Path, lesson: Spelling, **options: Any) -> int:
    from edgedistill.ml.lessons import learn

    out.mkdir(exist_ok=True)
    config = LearnConfig(**{"learning_rate": 1e-3, "batch": 6, "epochs": 2, **options})
    lengths = [3 + len(answer) for answer in ANSWERS]
    return learn(out, Model(student, ""), lesson, lengths, config, 0, [Tutor(Model(student, n)) for n in "ab"])


def curve(out: Path) -> list[dict[str, Any]]:
    return list(read_rows(out / "curve.jsonl"))


def test_pieces_of_a_batch_learn_the_same(tiny_llama: Path, tmp_path: Path) -> None:
    """The loss of a step is the mean over its tokens, however it is cut; the first one is the base model's."""
    import torch

    from edgedistill.ml import weights
    from edgedistill.ml.lessons import Item

    assert learned(tmp_path / "whole", tiny_llama, Spelling()) == 4
    learned(tmp_path / "pieces", tiny_llama, Spelling(), device_batch=2)
    whole, pieces = curve(tmp_path / "whole"), curve(tmp_path / "pieces")
    assert [row["step"] for row in whole] == [1, 2, 3, 4]
    for one, other in zip(whole, pieces, strict=True):
        assert one["divergence"] == pytest.approx(1.0)  # what is told is averaged as the loss is
        assert other["divergence"] == pytest.approx(1.0)
    lesson = Spelling()
    learned(tmp_path / "one step", tiny_llama, lesson, batch=12, epochs=1)
    model = weights.load(Model(tiny_llama, ""), torch.float32, 64)
    with torch.no_grad():
        total, _ = Spelling().loss(model, [Item(n, n, 0) for n in range(12)])
    expected = float(total) / sum(map(len, ANSWERS))
    assert curve(tmp_path / "one step")[0]["loss"] == pytest.approx(expected, rel=0.01)
    learned(tmp_path / "thirds", tiny_llama, Spelling(), batch=12, device_batch=4, epochs=1)
    assert curve(tmp_path / "thirds")[0]["loss"] == pytest.approx(expected, rel=0.01)


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
