"""Budgets by what was measured, the bundle that tells it, and the calibration, for figures written by hand."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgedistill import bundle_manifest
from edgedistill.benchmark import grading
from edgedistill.benchmark.run import Found
from edgedistill.bundle_manifest import Device, open_bundle
from edgedistill.cli import cli
from edgedistill.predictor import own_board

CONDITIONS: dict[str, Any] = {
    "where": "ssh://pi@board", "server": "llama-server b1", "runs": 100, "prompt_tokens": 40, "new_tokens": 21,
    "noisy": None, "throttled": None,
}  # fmt: skip
LATENCY: dict[str, Any] = {
    "first_token_ms": {"p50": 5100.0, "p90": 5200.0, "p99": 5300.0},
    "token_ms": {"p50": 50.0, "p90": 55.0, "p99": 60.0},
    "prompt_token_ms": {"p50": 127.5, "p90": 130.0, "p99": 132.5},
    "decode_tok_s": {"p50": 20.0, "p10": 18.18},
    "prefill_tok_s": 7.84,
    "evidence": "measured",
    "conditions": CONDITIONS,
}
RPI5 = Device(name="rpi5", title="Raspberry Pi 5", soc="", triple="aarch64-linux-musl", cpu="cortex_a76", threads=4)
PARITY = {"cases": 8, "prompt_text": 8, "token_ids": 8, "first_token_kl_max": 0.01, "greedy_text": 7, "passed": True}


def found(evidence: str = "measured", **conditions: Any) -> Found:
    latency = deepcopy(LATENCY)
    latency["evidence"] = evidence
    latency["conditions"] |= conditions
    return Found(PARITY, latency, {"peak": 512.0, "evidence": evidence}, Path("raw.jsonl"))


def verdicts(folder: Path) -> dict[str, tuple[float, str, str]]:
    return {b["name"]: (b["value"], b["verdict"], b["evidence"]) for b in bundle_manifest.read(folder).budgets}


def test_budgets_are_graded_by_what_was_measured(gguf_bundle):
    """Limits: first token 5000 ms, decode 1 tok/s, memory 4096 MiB."""
    grading.into_bundle(gguf_bundle, found())
    assert verdicts(gguf_bundle) == {
        "first_token_ms": (5100.0, "missed", "measured, p50 of 100, ssh://pi@board"),
        "decode_tok_s": (20.0, "met", "measured, p50 of 100, ssh://pi@board"),
        "memory_mib": (512.0, "met", "measured, peak of a fresh process, ssh://pi@board"),
    }


def test_an_emulators_speed_proves_nothing(gguf_bundle):
    grading.into_bundle(gguf_bundle, found("emulated", where="qemu://cortex-a76"))
    assert {verdict for _, verdict, _ in verdicts(gguf_bundle).values()} == {"unproven"}
    assert verdicts(gguf_bundle)["decode_tok_s"][2] == "emulated, p50 of 100, qemu://cortex-a76"


def test_what_was_measured_is_not_replaced_by_what_was_emulated(gguf_bundle):
    grading.into_bundle(gguf_bundle, found())
    before = bundle_manifest.read(gguf_bundle)
    grading.into_bundle(gguf_bundle, found("emulated", where="qemu://cortex-a76"))
    after = bundle_manifest.read(gguf_bundle)
    assert after.chosen == before.chosen and after.budgets == before.budgets
    assert after.benchmark is not None and after.benchmark["evidence"] == "emulated"


def test_a_limit_missed_on_a_noisy_device_is_unproven_and_a_throttled_one_is_marked(gguf_bundle):
    grading.into_bundle(gguf_bundle, found(noisy="others", throttled="firmware: throttled after 60 s of load"))
    value, verdict, evidence = verdicts(gguf_bundle)["first_token_ms"]
    assert (value, verdict) == (5100.0, "unproven")
    assert evidence == "measured, p50 of 100, ssh://pi@board, noisy machine, it throttled"


def test_the_bundle_still_holds_and_its_card_says_the_same(gguf_bundle):
    grading.into_bundle(gguf_bundle, found())
    manifest = open_bundle(gguf_bundle)  # every file against its hash
    assert manifest.chosen["latency"]["conditions"]["runs"] == 100
    assert manifest.chosen["latency"]["answer_ms"] == 5370.0  # 5100 + 5.4 tokens of 50 ms; the bundle's 6.4 are usual
    card = (gguf_bundle / "MODEL_CARD.md").read_text()
    assert "| decode_tok_s | 1.0 | 20.0 | tok/s | met | measured, p50 of 100, ssh://pi@board |\n" in card
    assert card.startswith("# tiny\n") and card.endswith("\nEnd.\n") and "unproven" not in card


def test_a_quiet_measurement_is_kept_for_predictions_of_its_target(gguf_bundle):
    """tiny_llama: 2 layers, 2 of 4 heads of 64 with keys and values, an untied embedding of 320 x 256."""
    manifest = grading.into_bundle(gguf_bundle, found())
    assert grading.calibrate(gguf_bundle, manifest, found().latency)
    pair = own_board.stored("host")
    assert pair is not None and (pair.decode_tok_s, pair.prefill_tok_s) == (20.0, 7.84)
    assert pair.measured.startswith("ssh://pi@board, 20") and pair.measured.endswith(", llama-server b1")
    assert pair.work.quant == "Q8_0" and pair.work.layers == 2 and pair.work.prompt_tokens == 40
    assert pair.work.cache_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert pair.work.context == 40 + 21 / 2
    whole = 2 * 256 * 320 + 2 * (2 * 65_536 + 2 * 32_768 + 3 * 131_072 + 2 * 256) + 256
    assert pair.work.read_weights == whole - 256 * 320 and pair.work.body_weights == whole - 2 * 256 * 320


@pytest.mark.parametrize(
    "what",
    [{"evidence": "emulated"}, {"noisy": "another process"}, {"throttled": "firmware: throttled after 60 s of load"}],
)
def test_nothing_else_is_kept_for_predictions(what, gguf_bundle):
    one = found(**what)
    assert grading.calibrate(gguf_bundle, grading.into_bundle(gguf_bundle, one), one.latency) is None
    assert own_board.stored("host") is None


def test_predictions_of_the_target_rest_on_it_from_then_on(tiny_candidates, bundle_of):
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    folder = bundle_of(tiny_candidates.file(candidate), candidate, RPI5)
    asked = ["predict", "--target", "rpi5", "--params", "1.1e9", "--bytes", "6.4e8", "--quant", "Q4_0", "--json"]
    before = json.loads(CliRunner().invoke(cli, asked).stdout)
    grading.calibrate(folder, grading.into_bundle(folder, found()), found().latency)
    after = json.loads(CliRunner().invoke(cli, asked).stdout)
    assert after["basis"].startswith("calibrated, ssh://pi@board") and not before["basis"].startswith("calibrated")
    assert after["decode_tok_s"] != before["decode_tok_s"]
