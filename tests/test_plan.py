"""The arithmetic by hand."""

from __future__ import annotations

import pytest

from edgedistill import plan
from edgedistill.models import Shape
from edgedistill.quants import QuantEntry
from edgedistill.recipe import Budgets
from edgedistill.target import Fact, Target


def fact(value: float) -> Fact:
    return Fact(value=value, source="made up for a test")


BOARD = Target(
    name="board",
    title="t",
    soc="t",
    triple="t",
    cpu="t",
    usable_ram_mib=fact(1000),
    read_gb_s=fact(10),
    compute_gops=fact(100),
    token_overhead_ms=fact(2),
    runtime_mib=fact(40),
)

TENSORS = {
    "model.embed_tokens.weight": (1024, 256),
    "model.layers.0.self_attn.q_proj.weight": (256, 256),
    "model.layers.0.mlp.down_proj.weight": (256, 384),
    "model.norm.weight": (256,),
}
SHAPE = Shape("LlamaForCausalLM", 3, 256, 2, 64, 1024, True, TENSORS)


def quant(name: str) -> QuantEntry:
    return QuantEntry(quant=name)


def predict(target: Target = BOARD, **changes: int) -> plan.Prediction:
    facts = dict(read_bytes=80_000_000, parameters=50_000_000, prompt_tokens=100)
    return plan.predict(target, **{**facts, "file_bytes": 100 * plan.MIB, "cache_bytes": 20 * plan.MIB, **changes})


def test_decode_is_overhead_plus_reading():
    """80 MB at 10 GB/s are 8 ms, and 2 ms overhead: 100 tok/s."""
    found = predict().decode_tok_s
    assert found is not None
    assert found.value == pytest.approx(100)
    # 8 x 1.42 + 2 x 4 = 19.36 ms and 8 / 1.42 + 2 / 4 = 6.134 ms
    assert found.low == pytest.approx(1000 / 19.36)
    assert found.high == pytest.approx(1000 / (8 / 1.42 + 0.5))


def test_first_token_is_the_prompt_and_one_step():
    """100 tokens x 2 x 50 M = 10 G operations at 100 G/s are 100 ms, and 10 ms for the step."""
    found = predict()
    assert found.first_token_ms is not None and found.prefill_tok_s is not None
    assert found.first_token_ms.value == pytest.approx(110)
    assert found.prefill_tok_s.value == pytest.approx(1000)


def test_memory_is_file_cache_buffer_and_runtime():
    """100 + 20 + 40 MiB, and 512 x 1024 x 4 bytes = 2 MiB of logits; at the high end a second copy of the weights."""
    found = predict(vocab=1024).memory_mib
    assert found.value == pytest.approx(162)
    assert (found.low, found.high) == (pytest.approx(120 + 42 / 1.5), pytest.approx(220 + 42 * 1.5))


def test_a_small_model_has_a_wide_interval():
    found = predict(read_bytes=3_000_000).decode_tok_s
    assert found is not None
    assert found.high / found.low > 10


def test_what_lacks_a_fact_is_not_predicted():
    bare = Target(name="t", title="t", soc="t", triple="t", cpu="t")
    found = predict(bare)
    assert (found.first_token_ms, found.decode_tok_s, found.prefill_tok_s) == (None, None, None)
    assert found.memory_mib.value == pytest.approx(120)


def test_cache_of_a_full_context():
    """2 x 3 layers x 2 heads x 64 x 2 bytes x 100 tokens."""
    assert plan.kv_cache_bytes(SHAPE, 100) == 153_600


def test_file_size_by_blocks():
    """Q8_0: 34 bytes per 32 weights in matrices, 4 per norm weight, 36 per token of the vocabulary."""
    matrices = 1024 * 256 + 256 * 256 + 256 * 384
    assert plan.gguf_bytes(SHAPE, quant("Q8_0")) == matrices // 32 * 34 + 256 * 4 + 36 * 1024


def test_an_untied_input_embedding_is_not_read():
    untied = Shape("LlamaForCausalLM", 3, 256, 2, 64, 1024, False, {**TENSORS, "lm_head.weight": (1024, 256)})
    assert plan.read_bytes(untied, quant("F16")) == plan.read_bytes(SHAPE, quant("F16"))
    assert plan.gguf_bytes(untied, quant("F16")) == plan.gguf_bytes(SHAPE, quant("F16")) + 2 * 1024 * 256


def test_rows_that_do_not_suit_k_quants_are_foretold():
    """384 is no multiple of 256."""
    found = plan.fit(SHAPE, BOARD, Budgets(), quant("Q4_K_M"), 256)
    assert list(found.fallbacks) == ["model.layers.0.mlp.down_proj.weight"]
    assert found.fits


def test_ceiling_is_read_rate_over_bytes():
    found = plan.fit(SHAPE, BOARD, Budgets(), quant("F16"), 256)
    assert found.ceiling_tok_s == pytest.approx(10e9 / (2 * (1024 * 256 + 256 * 256 + 256 * 384) + 4 * 256))


def test_problems_name_value_and_limit():
    huge = Shape("X", 3, 256, 2, 64, 1024, True, {"a.weight": (1_000_000, 2048)})
    found = plan.fit(
        huge, BOARD, Budgets(package_mib=10, decode_tok_s=1000, first_token_ms=1, memory_mib=50), quant("F16"), 256
    )
    text = "\n".join(found.problems)
    assert not found.fits
    assert "board has 1,000 MiB to use" in text
    assert "the budget is 10.0 MiB" in text
    assert "the budget is 50 MiB" in text
    assert "first token after" in text
    assert "decodes 2.4 tok/s, the budget is 1,000.0 tok/s" in text


def test_a_mix_is_as_large_as_it_may_be():
    """4 bits of 1024 x 256 + 256 x 256 + 256 x 384 + 256 weights, and the vocabulary."""
    weights = 1024 * 256 + 256 * 256 + 256 * 384 + 256
    assert plan.gguf_bytes(SHAPE, QuantEntry(bits=4)) == weights // 2 + 36 * 1024
    assert plan.gguf_bytes(SHAPE, QuantEntry(fit="1MiB")) == 1 << 20
    assert plan.read_bytes(SHAPE, QuantEntry(fit="1MiB")) == (1 << 20) - 36 * 1024


def test_the_cost_of_the_head_in_each_type_that_its_rows_can_have():
    """Tied: 1024 rows of 256 in Q4_K, 144 bytes each; in Q8_0 8 blocks of 34."""
    assert plan.head_bytes(SHAPE, ("Q4_K", "Q8_0")) == {"Q4_K": 1024 * 144, "Q8_0": 1024 * 272}
    untied = Shape("X", 1, 32, 1, 32, 8, False, {"lm_head.weight": (8, 32), "model.embed_tokens.weight": (8, 32)})
    assert plan.head_bytes(untied, ("Q4_K", "Q8_0")) == {"Q8_0": 8 * 34}


def test_the_type_that_a_recipe_sets_for_the_head_is_counted():
    larger = QuantEntry(quant="Q4_0", head="Q8_0")  # in place of Q6_K, 210 bytes a row
    assert plan.gguf_bytes(SHAPE, larger) - plan.gguf_bytes(SHAPE, quant("Q4_0")) == 1024 * (272 - 210)
