"""The arithmetic by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill import plan
from edgedistill.artifacts import Candidate, Candidates
from edgedistill.models import Model, Shape
from edgedistill.predictor import chips
from edgedistill.predictor.predict import speed
from edgedistill.quants import QuantEntry
from edgedistill.recipe import Budgets
from edgedistill.target import Cores, Fact, Isa, Target

SOURCE = "made up for a test"


def fact(value: float) -> Fact:
    return Fact(value=value, source=SOURCE)


BOARD = Target(
    name="board",
    title="t",
    soc="t",
    triple="t",
    cpu="t",
    cores=(
        Cores(type="A", count=4, ghz=2.0, source=SOURCE),
        Cores(type="B", count=4, ghz=1.0, big=False, source=SOURCE),
    ),
    isa=Isa(features=("dotprod",), source=SOURCE),
    usable_ram_mib=fact(1000),
    copy_gb_s=fact(5),
    peak_gb_s=fact(10),
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


def predict(target: Target = BOARD, megabytes: int = 100) -> plan.Prediction:
    work = plan.work_of(SHAPE, quant("Q8_0"), 256, 128, target)
    return plan.predict(target, work, file_bytes=megabytes * plan.MIB, cache_bytes=20 * plan.MIB)


def test_speeds_are_the_predictors_own():
    """One way to predict: the plan only says what is asked."""
    work, chip = plan.work_of(SHAPE, quant("Q8_0"), 256, 128, BOARD), chips.of_target(BOARD)
    assert work is not None and chip is not None
    assert (chip.cores, chip.ghz, chip.isa) == (4, 2.0, "dotprod")
    assert predict().decode_tok_s == speed(work, chip).decode_tok_s


def test_what_a_token_reads_and_multiplies():
    """Tied: all of it is read; a prompt's token leaves the embedding out."""
    work = plan.work_of(SHAPE, quant("Q8_0"), 256, 128, BOARD)
    assert work is not None
    assert work.read_bytes == plan.read_bytes(SHAPE, quant("Q8_0"))
    assert work.read_weights == SHAPE.parameters
    assert work.body_weights == SHAPE.parameters - 1024 * 256
    assert work.cache_bytes_per_token == 2 * 3 * 2 * 64 * 2


def test_a_mix_is_predicted_by_its_bits():
    mixed, like = (plan.work_of(SHAPE, entry, 256, 128, BOARD) for entry in (QuantEntry(bits=8.5), quant("Q8_0")))
    assert mixed.quant == like.quant == "Q8_0"
    assert mixed.read_bytes == int(8.5 * SHAPE.parameters / 8)


def test_a_file_that_is_there_is_predicted_by_what_was_counted_in_it():
    file = Candidate("onnx_genai", "INT4-rtn-b32-a4", "f", 9, "", {}, 4.5, SHAPE.parameters, read_bytes=77)
    work = plan.work_of(SHAPE, file, 256, 128, BOARD)
    assert (work.quant, work.read_bytes, work.runtime) == ("Q4_0", 77, "onnxruntime-genai")
    assert plan.predict(BOARD, work, file_bytes=9, cache_bytes=0).decode_tok_s


def test_a_mix_that_is_all_vocabulary_is_still_predicted():
    """36 x 1024 bytes of vocabulary, and nothing left for weights: a problem for the exporter, not for the plan."""
    found = plan.fit(SHAPE, BOARD, Budgets(), QuantEntry(fit="36KiB"), 256)
    assert found.prediction.decode_tok_s and found.ceiling_tok_s is None


def test_what_lacks_a_fact_is_not_predicted_and_says_so():
    found = predict(Target(name="t", title="t", soc="t", triple="t", cpu="t"))
    assert (found.first_token_ms, found.decode_tok_s, found.prefill_tok_s) == (None, None, None)
    assert "states neither cores nor memory rates" in found.reason
    assert found.memory_mib.value == pytest.approx(120 + 32)


def test_what_does_not_fit_has_no_speed():
    """Not slow, but a failure: it would be paged, or killed."""
    found = predict(megabytes=2000)
    assert found.decode_tok_s is None and found.reason == "needs 2,052 MiB, board has 1,000 MiB to use"


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
    large = Shape("X", 3, 256, 2, 64, 1024, True, {"a.weight": (200_000, 1024)})
    limits = Budgets(package_mib=10, decode_tok_s=1000, first_token_ms=1, memory_mib=50)
    found = plan.fit(large, BOARD, limits, quant("F16"), 256)
    text = "\n".join(found.problems)
    assert not found.fits
    assert "the file has 390.7 MiB, the budget is 10.0 MiB" in text
    assert "the budget is 50 MiB" in text
    assert "first token after" in text and "the budget is 1 ms" in text
    assert "tok/s, the budget is 1,000.0 tok/s" in text


def test_too_large_for_the_memory_is_a_problem_without_speeds():
    huge = Shape("X", 3, 256, 2, 64, 1024, True, {"a.weight": (1_000_000, 2048)})
    found = plan.fit(huge, BOARD, Budgets(decode_tok_s=1000), quant("F16"), 256)
    assert found.problems == ("needs 3,941 MiB, board has 1,000 MiB to use",)


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


def test_what_cannot_keep_a_budget_need_not_be_evaluated(tiny_candidates, tiny_llama):
    """The F16 file has 2.6 MiB, the Q8_0 one 1.4."""

    def hopeless(limit: float, candidates: Candidates = tiny_candidates) -> dict[str, tuple[str, ...]]:
        return plan.hopeless(candidates, Model(tiny_llama, "tiny"), BOARD, Budgets(package_mib=limit), 256, None)

    assert hopeless(2) == {"gguf-F16": ("the file has 2.6 MiB, the budget is 2.0 MiB; not evaluated",)}
    assert hopeless(3) == {}
    assert hopeless(1) == {}, "then the report says how far off they are"
    assert hopeless(2, Candidates(Path("nowhere"), "key")) == {}, "nothing is exported yet"
