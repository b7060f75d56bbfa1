"""KL by hand on a tiny model."""

from __future__ import annotations

import pytest

from edgedistill.errors import StageFailed


def opened(path):
    import torch

    from edgedistill.ml import weights
    from edgedistill.models import Model

    return weights.load(Model(path, "key"), torch.float32, longest=512).eval().requires_grad_(False)


ROWS = [([5, 6, 7, 8, 9], 3), ([10, 11, 12], 1), ([13, 14, 15, 16], 2)]


def test_kl_is_the_mean_over_the_answers_tokens_with_one_matrix_rounded_and_then_put_back(tiny_qwen2):
    """Row by row, without padding: position t foretells token t + 1, so 2 + 2 + 2 tokens count."""
    import torch

    from edgedistill.ml import sensitivity
    from edgedistill.ml.ggml_types import rounded

    model = opened(tiny_qwen2)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    measuring = sensitivity.Sensitivity(model, ROWS, {})
    assert measuring.positions == 6 and measuring.kl() == pytest.approx(0, abs=1e-7)
    down = next(m for m in sensitivity.matrices(model, tiny_qwen2) if m.name == "blk.1.ffn_down.weight")
    line = measuring.measure(down)
    assert line["measured"] == "Q4_0"  # rows of 384
    assert all((parameter == before[name]).all() for name, parameter in model.named_parameters())

    def log_probs() -> list[torch.Tensor]:
        with torch.no_grad():
            return [
                torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, begin - 1 : -1].double(), -1)
                for ids, begin in ROWS
            ]

    float_ones = log_probs()
    weight = model.model.layers[1].mlp.down_proj.weight
    weight.data.copy_(torch.from_numpy(rounded(weight.numpy(), "Q4_0", None)))
    kls = [(p.exp() * (p - q)).sum(-1) for p, q in zip(float_ones, log_probs(), strict=True)]
    assert line["kl"] == pytest.approx(float(torch.cat(kls).mean()), rel=1e-3)


def test_a_vocabulary_that_leaves_little_room_is_measured_on_as_many_tokens_as_fit(tiny_qwen2, monkeypatch):
    """Room for three tokens: two of the first row, the first one of the second row's; rows keep their order."""
    import torch

    from edgedistill.ml import sensitivity

    model = opened(tiny_qwen2)
    vocab = model.config.vocab_size
    monkeypatch.setattr(sensitivity, "_MOST_LOGITS", 3 * vocab + vocab // 2)
    measuring = sensitivity.Sensitivity(model, ROWS, {})
    assert measuring.positions == 3
    with torch.no_grad():
        whole = torch.log_softmax(model(input_ids=torch.tensor([ROWS[0][0]])).logits[0, 2:4], -1)
        begun = torch.log_softmax(model(input_ids=torch.tensor([ROWS[1][0]])).logits[0, 0:1], -1)
    kept = torch.cat([batch.log_probs for batch in measuring._batches])
    expected = torch.cat([whole, begun])
    assert all(any(torch.allclose(row, other, atol=1e-5) for other in kept) for row in expected)
    assert max(batch.ids.numel() for batch in measuring._batches) <= 5  # a row that is longer than the room goes alone
    down = sensitivity.matrices(model, tiny_qwen2)[6]
    assert measuring.measure(down)["kl"] > 0


def test_rows_without_an_answer_are_an_error(tiny_qwen2):
    from edgedistill.ml import sensitivity

    with pytest.raises(StageFailed, match="no row has an answer to compare"):
        sensitivity.Sensitivity(opened(tiny_qwen2), [([5, 6, 7], 3)], {})


def test_an_error_weighs_each_column_by_its_mean_square(tiny_qwen2):
    import numpy as np

    from edgedistill.imatrix_file import Importance
    from edgedistill.ml import sensitivity
    from edgedistill.ml.ggml_types import rounded

    model = opened(tiny_qwen2)
    matrix = sensitivity.matrices(model, tiny_qwen2)[0]
    sums = np.linspace(1, 20, matrix.weight.shape[1], dtype=np.float32)[None]
    importance = {matrix.name: Importance(sums, np.array([4.0], np.float32))}
    line = sensitivity.Sensitivity(model, ROWS, importance).measure(matrix)
    weight, means = matrix.weight.numpy(), sums[0] / 4
    by_hand = ((rounded(weight, "Q5_0", means) - weight) ** 2 * means).sum()
    assert line["errors"]["Q5_0"] == pytest.approx(by_hand, rel=1e-4)


def test_a_tied_head_is_one_matrix_and_an_untied_embedding_another(tiny_qwen2, tiny_llama):
    from edgedistill.ml import sensitivity

    tied = [matrix.name for matrix in sensitivity.matrices(opened(tiny_qwen2), tiny_qwen2)]
    untied = [matrix.name for matrix in sensitivity.matrices(opened(tiny_llama), tiny_llama)]
    assert tied[-1] == "token_embd.weight" and "output.weight" not in tied and len(tied) == 15
    assert untied[-2:] == ["token_embd.weight", "output.weight"] and len(untied) == 16


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "IQ4_NL", "Q5_1"])
def test_a_rounded_matrix_is_near_the_one_it_was_made_of(kind):
    """Within what so many bits can do for normal numbers: half a step of the largest of a block."""
    import numpy as np

    from edgedistill.ml.ggml_types import rounded
    from edgedistill.quantization import TYPES

    weight = np.random.default_rng(0).normal(size=(8, 512)).astype(np.float32)
    bits = 8 * TYPES[kind].bytes / TYPES[kind].block
    error = np.sqrt(np.mean((rounded(weight, kind, None) - weight) ** 2))
    assert 0 < error < 2.0 / 2 ** (bits - 1)
