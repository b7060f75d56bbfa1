"""What a benchmark leaves for later predictions, and when it leaves nothing, for figures written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgedistill import bundle_manifest, gguf_file
from edgedistill.benchmark import calibration
from edgedistill.benchmark.load import QUICK
from edgedistill.bundle_manifest import Device
from edgedistill.cli import cli
from edgedistill.predictor import own_board
from edgedistill.predictor.own_board import Pair

RPI5 = Device(name="rpi5", title="Raspberry Pi 5", soc="", triple="aarch64-linux-musl", cpu="cortex_a76", threads=4)


def calibrate(folder: Path, latency: dict[str, Any]) -> Path | None:
    return calibration.calibrate(folder, bundle_manifest.read(folder), latency)


def stored() -> Pair:
    pair = own_board.stored("host")
    assert pair is not None
    return pair


def test_a_quiet_measurement_is_kept_for_predictions_of_its_target(gguf_bundle, found):
    """tiny_llama: 2 layers, 2 of 4 heads of 64 with keys and values, an untied embedding of 320 x 256."""
    assert calibrate(gguf_bundle, found().latency)
    pair = stored()
    assert (pair.decode_tok_s, pair.prefill_tok_s, pair.is_quick) == (20.0, 7.84, False)
    assert pair.measured.startswith("ssh://pi@board, 20") and pair.measured.endswith(", llama-server b1")
    assert pair.work.quant == "Q8_0" and pair.work.layers == 2 and pair.work.prompt_tokens == 40
    assert pair.work.cache_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert pair.work.context == 40 + 21 / 2
    whole = 2 * 256 * 320 + 2 * (2 * 65_536 + 2 * 32_768 + 3 * 131_072 + 2 * 256) + 256
    assert pair.work.read_weights == whole - 256 * 320 and pair.work.body_weights == whole - 2 * 256 * 320


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"evidence": "emulated"}, ""),
        ({"noisy": "another process"}, "not kept for predictions: another process"),
        ({"throttled": "firmware: throttled"}, "not kept for predictions: firmware: throttled"),
        ({"other_device": "4x Cortex-A55"}, "the device is 4x Cortex-A55, not this machine"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_nothing_else_is_kept_for_predictions(what, said, gguf_bundle, found, capsys):
    assert calibrate(gguf_bundle, found(**what).latency) is None
    assert own_board.stored("host") is None
    assert said in capsys.readouterr().err


def test_what_throttled_after_the_measured_requests_is_kept(gguf_bundle, found):
    assert calibrate(gguf_bundle, found(throttled_sustained="cooling after 200 s of load").latency)


def test_a_quick_run_does_not_replace_a_full_one(gguf_bundle, found, capsys):
    quick = found(extent=QUICK.name).latency
    assert calibrate(gguf_bundle, quick) and stored().is_quick
    assert calibrate(gguf_bundle, quick), "the last of the quick ones counts"
    assert calibrate(gguf_bundle, found().latency) and not stored().is_quick
    assert calibrate(gguf_bundle, quick) is None and not stored().is_quick
    assert "a quick run does not replace the full one, ssh://pi@board, 20" in capsys.readouterr().err


def test_it_is_a_pair_of_what_really_ran_it(gguf_bundle, found):
    manifest = bundle_manifest.read(gguf_bundle)
    jetson = manifest.model_copy(update={"target": manifest.target.model_copy(update={"backend": "gpu"})})
    calibration.calibrate(gguf_bundle, jetson, found(target_backend="gpu").latency)
    assert stored().work.backend == "cpu"


def test_a_plain_onnx_folder_tells_no_shape(gguf_bundle, found, capsys):
    manifest = bundle_manifest.read(gguf_bundle)
    (gguf_bundle / "onnx").mkdir()
    plain = manifest.model_copy(update={"model": "onnx", "chosen": {**manifest.chosen, "format": "onnx"}})
    assert calibration.calibrate(gguf_bundle, plain, found().latency) is None
    assert "onnx/ has no genai_config.json" in capsys.readouterr().err


def test_heads_that_differ_from_layer_to_layer_are_not_taken(gguf_bundle, found, monkeypatch, capsys):
    read = gguf_file.read

    def with_a_list(path: Path) -> gguf_file.GgufFile:
        head = read(path)
        return replace(head, metadata={**head.metadata, "llama.attention.head_count_kv": [2, 4]})

    monkeypatch.setattr(gguf_file, "read", with_a_list)
    assert calibrate(gguf_bundle, found().latency) is None
    assert "llama.attention.head_count_kv differs from layer to layer" in capsys.readouterr().err


def test_predictions_of_the_target_rest_on_it_from_then_on(tiny_candidates, bundle_of, found):
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    folder = bundle_of(tiny_candidates.file(candidate), candidate, RPI5)
    asked = ["predict", "--target", "rpi5", "--params", "1.1e9", "--bytes", "6.4e8", "--quant", "Q4_0", "--json"]
    before = json.loads(CliRunner().invoke(cli, asked).stdout)
    calibrate(folder, found().latency)
    after = json.loads(CliRunner().invoke(cli, asked).stdout)
    assert after["basis"].startswith("calibrated, ssh://pi@board") and not before["basis"].startswith("calibrated")
    assert after["decode_tok_s"] != before["decode_tok_s"]
