"""The arithmetic by hand, with every factor given."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgedistill.predictor import formula, quants
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.work import Work

BOARD = Chip("board", "board", "dotprod", cores=4, ghz=2.0, lanes=2.0, copy_gb_s=5.0, peak_gb_s=17.0)
WORK = Work("Q4_0", read_bytes=1e9, read_weights=2e9, body_weights=1.8e9, context=0, prompt_tokens=100)
FACTORS = {
    "read share/copy": 1.6,
    "read rate/board/cpu": 1.25,
    "rate/dotprod": 2.0,
    "rate/board": 1.0,
    "cost/Q4_0": 1.0,
    "cost/Q4_0/dotprod": 1.0,
    "thread power, e^": math.e,
    "overhead ms/cpu": 5.0,
    "KV factor": 2.0,
}


def test_decode_is_reading_and_unpacking_together_and_the_overhead():
    """1 GB at 5 x 1.6 x 1.25 = 10 GB/s: 100 ms. 2 G weights at 2 GHz x 2 x 4 threads x 2 = 32 G/s: 62.5 ms.

    Together the root of the squares, 117.9 ms; 5 ms overhead on top, and next to nothing for the cache.
    """
    found = formula.decode(WORK, BOARD).seconds(FACTORS)
    assert found == pytest.approx(math.hypot(0.1, 0.0625) + 0.005, rel=1e-6)


def test_the_cache_is_read_at_the_same_rate_and_counts_more_than_its_bytes():
    """100 kB x 1000 tokens = 0.1 GB, twice, at 10 GB/s: 20 ms."""
    long = replace(WORK, context=1000, cache_bytes_per_token=100_000)
    more = formula.decode(long, BOARD).seconds(FACTORS) - formula.decode(WORK, BOARD).seconds(FACTORS)
    assert more == pytest.approx(0.02, rel=1e-3)


def test_a_mixture_of_experts_reads_its_active_bytes_only():
    dense = replace(WORK, read_bytes=8e9, read_weights=16e9)
    slow, fast = (formula.decode(work, BOARD).seconds(FACTORS) for work in (dense, WORK))
    assert slow == pytest.approx(8 * (fast - 0.005) + 0.005, rel=1e-6)


def test_more_threads_help_up_to_the_big_cores_and_hurt_beyond():
    times = [formula.decode(replace(WORK, threads=n), BOARD).seconds(FACTORS) for n in (1, 2, 4, 8)]
    assert times[0] > times[1] > times[2] < times[3]


def test_an_old_build_is_slower():
    old, new = (formula.decode(replace(WORK, built=built), BOARD).seconds({}) for built in (2024.2, 2026.0))
    assert old > new


def test_a_prompt_is_computed_and_its_attention_grows_with_its_length():
    short, long = (formula.prompt(replace(WORK, prompt_tokens=n), BOARD).seconds({}) for n in (512, 4096))
    assert short < long < 2 * short


def test_a_type_that_the_build_rearranges_is_read_faster():
    plain, fast = (formula.prompt(replace(WORK, is_rearranged=yes), BOARD).seconds({}) for yes in (False, True))
    assert fast == pytest.approx(plain / 1.8, rel=0.1)


def test_without_integer_products_all_quantizations_cost_alike():
    plain = replace(BOARD, isa="neon")
    q4, q6 = (formula.decode(replace(WORK, quant=quant), plain).seconds({}) for quant in ("Q4_K", "Q6_K"))
    assert q4 == pytest.approx(q6)


def test_a_read_rate_measured_on_the_device_replaces_the_guess_from_its_copy_rate():
    """1 GB at 20 GB/s and no cost of unpacking to speak of: 50 ms and the overhead."""
    own = replace(BOARD, read_gb_s=20.0)
    found = formula.decode(replace(WORK, read_weights=1.0), own).seconds(FACTORS)
    assert found == pytest.approx(0.055, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Q4_K_M", "Q4_K"), ("UD-Q3_K_XL", "Q3_K"), ("IQ4_XS", "IQ4"), ("IQ3_XXS", "IQ3"), ("Q4_0_4_4", "Q4_0"),
        ("3.87 bpw (Q4_K_S label)", "Q4_K"), ("w8a8", "int8"), ("w4a16_g128", "int4"), ("W2", "W2"), ("BF16", "BF16"),
        ("HQQ 4-bit block64", "int4"), ("mystery", None), ("", None),
        ("q4_0", "Q4_0"), ("q4_k_m", "Q4_K"), ("q8_0", "Q8_0"), ("iq4_xs", "IQ4"), ("ud-q3_k_xl", "Q3_K"),
        ("Q9_0", None), ("IQ1_S", None),
    ],
)  # fmt: skip
def test_quantizations_are_known_by_many_names(name, kind):
    assert quants.family(name) == kind


@pytest.mark.parametrize(
    ("name", "bits", "kind"),
    [
        ("Q4_K_M", 5.2, "Q4_K"), ("Q4_0-head-Q8_0", 5.0, "Q4_0"), ("IQ4_XS-plain", 4.5, "IQ4"),
        ("INT4-k_quant-b32-a4-h8", 5.1, "Q4_0"), ("INT8-per_channel", 8.2, "Q8_0"), ("F32", 32, "F32"),
        ("MIX_4.2bit", 4.2, "Q3_K"), ("MIX_42MiB-head-Q8_0", 6.4, "Q6_K"), ("mystery", 15, "F16"),
    ],
)  # fmt: skip
def test_what_has_no_factors_of_its_own_takes_those_of_a_type_like_it(name, bits, kind):
    """A mix by its bits: 4.2 is nearer to Q3_K's 3.8 than to Q4_K's 4.75."""
    assert quants.comparable(name, bits) == kind


def test_every_kind_has_its_bits():
    named = ("Q4_K_M", "Q8_0", "Q6_K", "Q5_1", "Q2_K", "IQ2_M", "IQ3_S", "F16", "W4", "int4", "Q8")
    assert {quants.family(name) for name in named} <= quants.BITS.keys()
