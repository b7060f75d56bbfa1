"""Values with intervals, reasons where there is none, and what a measured pair changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgedistill import target, yaml_file
from edgedistill.errors import UsageError
from edgedistill.predictor import chips, formula, memory, own_board, parameters
from edgedistill.predictor.own_board import Pair
from edgedistill.predictor.predict import speed
from edgedistill.predictor.work import Work

PI5 = parameters.load().chips["rpi5"]
WORK = Work("Q4_0", read_bytes=6.4e8, read_weights=1.1e9, body_weights=1.0e9, threads=4)


def test_a_known_board_is_predicted_near_what_people_measure():
    """A 1.1 B model of 640 MB decodes 11 to 17 tokens/s on a Pi 5: its read rate is 8 to 11 GB/s."""
    found = speed(WORK, PI5)
    assert found.decode_tok_s is not None and found.first_token_ms is not None and found.prefill_tok_s is not None
    assert found.decode_tok_s.low < found.decode_tok_s.value < found.decode_tok_s.high
    assert 11 < found.decode_tok_s.value < 17
    by_hand = 128 / found.prefill_tok_s.value + 1 / found.decode_tok_s.value
    assert found.first_token_ms.value == pytest.approx(1000 * by_hand)
    assert found.basis == "measured, llama.cpp"
    assert found.naive_decode_tok_s == pytest.approx(found.decode_tok_s.value, rel=0.3)


def test_a_chip_that_nobody_measured_has_a_wider_interval():
    stranger = replace(PI5, name="stranger")
    known, unknown = (speed(WORK, chip).decode_tok_s for chip in (PI5, stranger))
    assert known is not None and unknown is not None
    assert unknown.high / unknown.low > known.high / known.low
    assert unknown.value == pytest.approx(known.value, rel=0.5)
    assert speed(WORK, stranger).basis == "copy rate"


def test_a_model_of_a_few_megabytes_is_mostly_overhead_and_the_interval_says_so():
    small, large = (
        speed(replace(WORK, read_bytes=size, read_weights=size, body_weights=size), PI5).decode_tok_s
        for size in (3e6, 3e9)
    )
    assert small is not None and large is not None
    assert small.high / small.low > 1.3 * large.high / large.low


@pytest.mark.parametrize(
    ("work", "chip", "reason"),
    [
        (WORK, None, "states neither cores nor memory rates"),
        (replace(WORK, backend="tpu"), PI5, "no backend named `tpu`"),
        (WORK, replace(PI5, copy_gb_s=None, peak_gb_s=None), "nothing is known of the memory"),
        (replace(WORK, backend="npu"), replace(PI5, peak_gb_s=None), "nothing is known of the memory"),
    ],
)
def test_what_cannot_be_predicted_is_declined_with_a_reason(work, chip, reason):
    found = speed(work, chip)
    assert (found.decode_tok_s, found.prefill_tok_s, found.first_token_ms) == (None, None, None)
    assert reason in found.reason


def test_a_measured_pair_moves_the_prediction_and_narrows_it():
    """The board measured 30% slower than predicted: another model there is slower by most of that."""
    before = speed(WORK, PI5)
    assert before.decode_tok_s is not None and before.prefill_tok_s is not None
    pair = Pair(WORK, 0.7 * before.decode_tok_s.value, None, "ssh://pi@desk, 2026-11-21")
    other = replace(WORK, quant="Q8_0", read_bytes=3e9, read_weights=2.8e9)
    plain, after = speed(other, PI5), speed(other, PI5, pair)
    assert plain.decode_tok_s is not None and after.decode_tok_s is not None
    share = parameters.load().decode.calibration_share
    assert share > 0.7
    assert after.decode_tok_s.value == pytest.approx(plain.decode_tok_s.value * 0.7**share, rel=0.02)
    assert after.decode_tok_s.high / after.decode_tok_s.low < plain.decode_tok_s.high / plain.decode_tok_s.low
    assert after.prefill_tok_s == plain.prefill_tok_s  # it was not measured
    assert "ssh://pi@desk" in after.basis


def test_a_pair_of_the_cpu_says_nothing_about_the_gpu():
    pair = Pair(WORK, 5.0, 20.0, "ssh://pi@desk, 2026-11-21")
    chip = chips.of_target(target.load("orin-nano-8gb"))
    assert speed(WORK, chip, pair) != speed(WORK, chip)
    on_gpu = replace(WORK, backend="gpu")
    assert speed(on_gpu, chip, pair) == speed(on_gpu, chip)


def test_a_pair_of_a_tiny_model_says_little_about_a_large_one():
    """Its time is overhead; so the large model's prediction hardly moves, and stays as wide as it was."""
    tiny = replace(WORK, read_bytes=1e6, read_weights=1e6, body_weights=1e6, cache_bytes_per_token=1000)
    large = replace(WORK, read_bytes=4e9, read_weights=7e9, body_weights=7e9)
    quick = speed(tiny, PI5).decode_tok_s
    plain = speed(large, PI5).decode_tok_s
    assert quick is not None and plain is not None
    after = speed(large, PI5, Pair(tiny, quick.value / 2, None, "local")).decode_tok_s
    assert after is not None
    assert after.value == pytest.approx(plain.value, rel=0.1)
    assert after.high / after.low == pytest.approx(plain.high / plain.low, rel=0.1)


def test_a_pair_is_stored_per_target_and_the_last_one_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert own_board.stored("rpi5") is None
    for rate in (9.0, 10.0):
        own_board.store("rpi5", Pair(WORK, rate, 50.0, "local"))
    assert own_board.stored("rpi5") == Pair(WORK, 10.0, 50.0, "local")
    assert own_board.stored("rpi4") is None


def test_a_broken_calibration_says_which_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = own_board.store("rpi5", Pair(WORK, 9.0, None, "local"))
    path.write_text('{"work": {}}')
    with pytest.raises(UsageError) as caught:
        own_board.stored("rpi5")
    assert str(path) in caught.value.hint


def test_memory_is_file_cache_buffer_and_runtime():
    """100 + 20 + 32 MiB, and 512 x 1024 x 4 bytes = 2 MiB of logits; at the high end the weights count twice."""
    found = memory.peak_mib(100 * memory.MIB, 20 * memory.MIB, vocab=1024)
    assert (found.value, found.low, found.high) == (154, pytest.approx(120 + 34 / 1.5), pytest.approx(220 + 34 * 1.5))
    assert memory.shortfall(found, 150, "board") == ""
    assert memory.shortfall(found, 140, "board") == "needs 154 MiB, board has 140 MiB to use"


def test_shipped_parameters_fit_the_shipped_targets():
    """The fit read the targets' facts: who changes a fact fits again (tests/bench/fit_predictor.py --write)."""
    known = parameters.load().chips
    for name in yaml_file.names("targets"):
        made = target.load(name)
        chip = chips.of_target(made)
        if chip and made.chip is None:
            assert known[name] == chip


def test_every_fitted_factor_has_a_place_in_the_formula():
    """No stale name: each is asked for by some chip and work."""
    known = parameters.load()
    asked: set[str] = set()
    kinds = {name.split("/")[1] for name in [*known.decode.factors, *known.prompt.factors] if "cost/" in name}
    runtimes = {name.split("/")[1] for name in [*known.decode.factors, *known.prompt.factors] if "runtime/" in name}
    for chip in set(known.chips.values()):
        for backend in ("cpu", "gpu", "npu"):
            for runtime in ("llama.cpp", "ik_llama.cpp", *runtimes):
                for quant in kinds:
                    work = replace(WORK, quant=quant, backend=backend, runtime=runtime, threads=64, built=2024.0)
                    work = replace(work, prompt_tokens=32, is_rearranged=True)
                    for time in (formula.decode(work, chip), formula.prompt(work, chip)):
                        asked |= {factor.name for term in (*time.roof, *time.rest) for factor, _ in term.powers}
    assert {*known.decode.factors, *known.prompt.factors} <= asked
