"""`build --device`: the bundle runs where it ships to, and the report of the build says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgedistill import target as targets
from edgedistill.benchmark import load, run
from edgedistill.bundle_manifest import open_bundle
from edgedistill.cli import cli
from edgedistill.commands import bench
from edgedistill.errors import DeviceError, EdgeDistillError
from edgedistill.files import sha256_of
from edgedistill.toolchain import runtime


@pytest.fixture
def asked(tiny_llama, tmp_path, monkeypatch) -> list[str]:
    """A build of a model as it is, for this machine; what is measured is short, and others may work beside it."""
    if not runtime.installed(targets.load("host")):
        pytest.skip("needs llama-server for this machine: `edgedistill toolchain install --target host`")
    monkeypatch.setattr(bench, "FULL", replace(load.FULL, requests=4, least=2, load_s=0.0))
    monkeypatch.setattr(run, "BUSY_SHARE", 1000.0)
    monkeypatch.chdir(tmp_path)
    small = ["package.quants=[Q8_0]", "validate.golden_cases=24", "validate.max_tokens=8", "text.tokens=64"]
    settings = [word for one in small for word in ("--set", one)]
    return ["build", "--target", "host", "--student", str(tiny_llama), *settings, "--device", "local", "--json"]


@pytest.mark.slow
def test_the_report_of_a_build_says_what_was_found_on_the_device(asked, monkeypatch):
    done = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert done.exception is None, done.exception
    report = json.loads(done.stdout)
    assert [stage["name"] for stage in report["stages"]][-1] == "bundle"
    chosen = next(line for line in report["candidates"] if line["chosen"])
    assert chosen["latency"]["conditions"]["server"].startswith("llama-server")
    assert chosen["latency"]["conditions"]["runs"] == 4 and chosen["latency"]["token_ms"]["p50"] > 0
    bundle = Path(report["bundle"]["path"])
    assert open_bundle(bundle).benchmark is not None
    kept = json.loads(Path("runs/reports", report["build_id"], "report.json").read_text())
    assert kept == report == json.loads(bundle.with_name(f"{bundle.name}.report.json").read_text())

    again = CliRunner().invoke(cli, [*asked[: asked.index("--device")], "--json"], standalone_mode=False)
    told = json.loads(again.stdout)
    assert told["build_id"] != report["build_id"]
    for name in ("benchmark", "budgets"):
        assert told[name] == report[name], "what was measured on the same model stays"
    assert next(line for line in told["candidates"] if line["chosen"])["latency"] == chosen["latency"]
    kept_run = open_bundle(bundle).benchmark
    assert kept_run is not None and kept_run["when"] == report["benchmark"]["when"]
    assert told["bundle"]["manifest_sha256"] == sha256_of(bundle / "manifest.json")
    for path in (Path("runs/reports", told["build_id"], "report.json"), bundle.with_name(f"{bundle.name}.report.json")):
        assert json.loads(path.read_text()) == told

    def fail(*_: object, **__: object) -> None:
        raise DeviceError("the board is gone", "look for it")

    monkeypatch.setattr(bench, "benchmark", fail)
    failed = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert isinstance(failed.exception, DeviceError) and failed.exception.exit_code == 3
    assert f"go on with `edgedistill bench {bundle} --device local`" in failed.exception.hint


def test_a_device_that_is_not_there_is_told_before_anything_is_built(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["build", "--target", "rpi5", "--student", str(tiny_llama), "--device", f"replay://{tmp_path / 'no.tape'}"]
    failed = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert isinstance(failed.exception, EdgeDistillError), failed.exception
    assert "no.tape" in str(failed.exception) and not (tmp_path / "runs").exists()
