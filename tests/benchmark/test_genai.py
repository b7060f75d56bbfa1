"""A real ONNX bundle with onnxruntime-genai, from the command to the report."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgedistill.benchmark import genai
from edgedistill.bundle_manifest import Device, open_bundle
from edgedistill.cli import cli
from edgedistill.errors import DeviceError, UsageError
from edgedistill.exporters import onnx_genai
from edgedistill.exporters.onnx_genai import Config
from edgedistill.models import Model
from edgedistill.predictor import own_board
from edgedistill.target import Target

BOARD = Device(name="rpi5", title="Raspberry Pi 5", soc="", triple="aarch64-linux-musl", cpu="cortex_a76", threads=4)
TARGET = Target(name="t", title="t", soc="t", triple="native", cpu="native", formats=("onnx_genai",))


@pytest.fixture(scope="module")
def exported(tiny_llama, tmp_path_factory) -> Any:
    out = tmp_path_factory.mktemp("onnx")
    (candidate,) = onnx_genai.export(out, Model(tiny_llama, "tiny"), Config(quants=("F32",)), [])
    return out / candidate.file, candidate


@pytest.fixture
def onnx_bundle(exported, bundle_of) -> Path:
    return bundle_of(*exported)


def test_the_command_measures_grades_and_tells(onnx_bundle):
    asked = ["bench", str(onnx_bundle), "--quick", "--anyway", "--json"]
    done = CliRunner().invoke(cli, asked, standalone_mode=False, catch_exceptions=False)
    report = json.loads(done.stdout)
    assert report["schema"] == "edgedistill.report/1" and done.return_value == report["exit_code"] == 0
    (line,) = report["candidates"]
    assert line["latency"]["evidence"] == line["memory_mib"]["evidence"] == "measured"
    assert line["latency"]["conditions"]["server"].startswith("onnxruntime-genai ")
    assert line["latency"]["conditions"]["extent"].startswith("quick")
    assert re.fullmatch(r"peak of a fresh process, \d+ MiB of it Python", line["latency"]["conditions"]["memory"])
    assert 0 < line["latency"]["first_token_ms"]["p50"] <= line["latency"]["first_token_ms"]["p90"]
    assert {budget["verdict"] for budget in report["budgets"]} == {"met"}
    manifest = open_bundle(onnx_bundle)
    assert manifest.benchmark is not None and manifest.benchmark["parity"]["passed"]
    assert 0 <= manifest.benchmark["parity"]["answer_kl_mean"] < 0.002, "the limit of float files"
    beside = onnx_bundle.with_name(f"{onnx_bundle.name}.report.json")
    assert json.loads(beside.read_text()) == report
    is_quiet = line["latency"]["conditions"]["noisy"] is None
    assert (own_board.stored("host") is not None) is is_quiet


def test_times_count_what_was_asked_for(onnx_bundle):
    with genai.serving(onnx_bundle / "onnx", "onnx_genai", context=256, threads=1) as server:
        times = server.ask([1, 5, 7], 4)
    assert (times.prompt_tokens, times.new_tokens) == (3, 4) and times.prompt_ms > 0 and times.decode_ms > 0


def test_a_killed_process_is_told_as_such(onnx_bundle):
    with genai.serving(onnx_bundle / "onnx", "onnx_genai", context=256, threads=1) as server:
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="was killed by signal 9, most often for its memory") as found:
            server.ask([1, 5, 7], 4)
    assert found.value.exit_code == 3 and "is kept" in found.value.hint


def test_no_process_is_left(onnx_bundle):
    with genai.serving(onnx_bundle / "onnx", "onnx_genai", context=256, threads=1) as server:
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_it_is_measured_on_this_machine_only(exported, bundle_of):
    folder = bundle_of(*exported, BOARD)
    done = CliRunner().invoke(cli, ["bench", str(folder), "--device", "ssh://pi@board"], standalone_mode=False)
    assert isinstance(done.exception, UsageError) and "Python library" in done.exception.problem
