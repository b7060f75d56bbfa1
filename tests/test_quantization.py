"""Expected types and sizes by hand, from the rules in src/llama-quant.cpp."""

from __future__ import annotations

import pytest

from edgedistill.errors import UsageError
from edgedistill.quantization import bits_per_weight, expected_types, fallback, fallbacks, tensor_bytes, type_counts


def llama(hidden: int, feed_forward: int, layers: int, *, tied: bool = True) -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (320, hidden), "output_norm.weight": (hidden,)}
    if not tied:
        tensors["output.weight"] = (320, hidden)
    for layer in range(layers):
        block = {f"attn_{part}.weight": (hidden, hidden) for part in ("q", "k", "v", "output")}
        block |= {"ffn_down.weight": (hidden, feed_forward), "attn_norm.weight": (hidden,), "attn_q.bias": (hidden,)}
        block |= {f"ffn_{part}.weight": (feed_forward, hidden) for part in ("up", "gate")}
        tensors |= {f"blk.{layer}.{name}": dimensions for name, dimensions in block.items()}
    return tensors


@pytest.mark.parametrize(
    ("wanted", "row", "got"),
    [
        ("Q4_K", 256, "Q4_K"),
        ("Q4_K", 288, "Q5_0"),  # 288 = 9 * 32
        ("Q5_K", 288, "Q5_1"),
        ("Q6_K", 576, "Q8_0"),
        ("Q4_K", 100, "F16"),  # not even 32
        ("Q8_0", 100, "F16"),
        ("Q4_0", 96, "Q4_0"),
    ],
)
def test_a_row_that_does_not_fit_gets_the_next_type(wanted, row, got):
    assert fallback(wanted, row) == got


def test_q4_k_m_of_eight_layers_gives_more_bits_to_layers_0_3_6_and_7():
    """8 // 8 = 1: layer 0 is before it, 7 is from 7 * 8 // 8 on, (layer - 1) % 3 == 2 holds for 3 and 6."""
    types = expected_types(llama(256, 512, 8), "Q4_K_M")
    for role in ("attn_v", "ffn_down"):
        assert [layer for layer in range(8) if types[f"blk.{layer}.{role}.weight"] == "Q6_K"] == [0, 3, 6, 7]
    assert types["token_embd.weight"] == "Q6_K"  # tied: it is the head
    assert {types[f"blk.{layer}.attn_q.weight"] for layer in range(8)} == {"Q4_K"}
    assert types["output_norm.weight"] == types["blk.0.attn_q.bias"] == "F32"


def test_the_order_of_the_tensors_does_not_matter():
    tensors = llama(256, 512, 12)
    assert expected_types(dict(reversed(tensors.items())), "Q5_K_M") == expected_types(tensors, "Q5_K_M")


def test_an_untied_embedding_gets_the_plain_type_and_the_head_more_bits():
    types = expected_types(llama(256, 512, 2, tied=False), "Q4_0")
    assert (types["token_embd.weight"], types["output.weight"]) == ("Q4_0", "Q6_K")


def test_hugging_face_names_give_the_same_types():
    tensors = {
        "model.embed_tokens.weight": (320, 288),
        "model.layers.0.self_attn.v_proj.weight": (96, 288),
        "model.layers.0.mlp.down_proj.weight": (288, 768),
        "model.layers.0.mlp.up_proj.weight": (768, 288),
        "model.layers.0.input_layernorm.weight": (288,),
    }
    gguf = {
        "token_embd.weight": (320, 288),
        "blk.0.attn_v.weight": (96, 288),
        "blk.0.ffn_down.weight": (288, 768),
        "blk.0.ffn_up.weight": (768, 288),
        "blk.0.attn_norm.weight": (288,),
    }
    for quant in ("F16", "Q8_0", "Q4_K_M", "Q4_0"):
        assert list(expected_types(tensors, quant).values()) == list(expected_types(gguf, quant).values())


def test_fallbacks_name_only_the_tensors_that_do_not_fit():
    odd = fallbacks(llama(288, 768, 1, tied=False), "Q4_K_M")
    assert "blk.0.ffn_down.weight" not in odd  # rows of 768 = 3 * 256
    assert odd["blk.0.ffn_up.weight"] == "Q5_0"
    assert odd["output.weight"] == "Q8_0"
    assert fallbacks(llama(256, 512, 2), "Q4_K_M") == {}


def test_sizes_by_hand():
    """2 rows of 256: Q4_K 144 bytes a row; Q8_0 8 blocks of 34; F16 2 bytes each."""
    assert [tensor_bytes((2, 256), kind) for kind in ("Q4_K", "Q8_0", "F16")] == [288, 544, 1024]
    shapes = {"a.weight": (2, 256), "b_norm.weight": (64,)}
    types = expected_types(shapes, "Q8_0")
    assert type_counts(types) == {"F32": 1, "Q8_0": 1}
    assert bits_per_weight(shapes, types) == 8 * (544 + 256) / 576


def test_an_unknown_quant_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"no quantization named `Q4_K_X`; there are: .*Q4_K_M"):
        expected_types({}, "Q4_K_X")
