"""The loss on answer tokens, by hand and against the model's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_answer_loss_by_hand() -> None:
    """B 2, T 5, K 3, V 4. Uniform logits cost ln 4 each; one row puts odds 3:1:1:1 on its target, which costs ln 2."""
    import torch

    from edgedistill.ml.answers import answer_columns, answer_loss

    labels = torch.tensor([[-100, -100, 3, 1, -100], [-100, -100, -100, 2, 0]])
    columns = answer_columns(labels)
    assert columns.tolist() == [1, 2, 3]
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 3] = math.log(3)  # position 1 of row 0 predicts token 3: 3 / (3 + 1 + 1 + 1) = 1/2
    logits[0, 2, 0] = 50.0  # position 3 of row 0 predicts nothing that counts
    total = math.log(2) + 3 * math.log(4)
    assert answer_loss(logits, labels, columns, None).item() == pytest.approx(total / 4)
    assert answer_loss(logits, labels, columns, 8).item() == pytest.approx(total / 8)


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_answer_loss_is_the_models_own(name: str, request: pytest.FixtureRequest) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from edgedistill.ml.answers import answer_columns, answer_loss

    folder: Path = request.getfixturevalue(name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.randint(5, 320, (3, 11), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    for row, start in enumerate((4, 6, 9)):
        labels[row, :start] = -100
    columns = answer_columns(labels)
    with torch.no_grad():
        ours = answer_loss(model(input_ids=ids, logits_to_keep=columns).logits, labels, columns, None)
        theirs = model(input_ids=ids, labels=labels).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
