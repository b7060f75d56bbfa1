"""`build --target rpi5 --device ssh://…` against a real arm64 userland: push, golden cases, benchmark, pull, grade. The
CPU is emulated, so answers are proven and speed is not. The measured part is shortened; everything else is as ever."""

from __future__ import annotations

import json
import subprocess

import pytest

from edgedistill import bundle_manifest, cli, target
from edgedistill.benchmark import run
from edgedistill.benchmark.load import Extent
from edgedistill.commands import bench
from edgedistill.toolchain import runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SHORT = Extent("for a test", warm_up=1, requests=6, seconds=60.0, least=2, load_s=0.0)
PROGRAMS = {f"runtime/aarch64-linux-musl/{name}" for name in runtime.PROGRAMS}


@pytest.fixture
def shortened(monkeypatch):
    """Also on a machine that does other things: figures of an emulator are no figures."""
    monkeypatch.setattr(bench, "FULL", SHORT)
    monkeypatch.setattr(run, "BUSY_SHARE", float("inf"))
    monkeypatch.setattr(run, "QUIET_WAIT_S", 0.0)


def test_a_build_is_proven_on_the_board_and_ships_its_runtime(board, shortened, tiny_llama, tmp_path, capsys):
    if runtime.installed(target.load("rpi5")) is None:
        pytest.skip("no runtime for it here: `edgedistill toolchain install --target rpi5`")
    places = ["--runs", str(tmp_path / "runs"), "--dist", str(tmp_path / "dist")]
    small = ["--set", "package.quants=[Q8_0]", "--set", "validate.max_tokens=8", "--set", "text.tokens=512"]
    asked = ["build", "--target", "rpi5", "--student", str(tiny_llama), *places, *small]
    code = cli._run([*asked, "--with-runtime", "--device", board.address, "--json"])
    said = capsys.readouterr()
    assert said.out, said.err
    report = json.loads(said.out)
    assert code == report["exit_code"]
    (chosen,) = (candidate for candidate in report["candidates"] if candidate["chosen"])
    assert chosen["parity"]["passed"]
    assert chosen["latency"]["evidence"] == chosen["memory_mib"]["evidence"] == "emulated"
    assert chosen["latency"]["conditions"]["where"] == board.address
    assert chosen["latency"]["conditions"]["runs"] == SHORT.requests
    for budget in (found for found in report["budgets"] if found["name"] in ("first_token_ms", "decode_tok_s")):
        assert budget["verdict"] == "unproven" and budget["evidence"].startswith("emulated")
    manifest = bundle_manifest.open_bundle(tmp_path / "dist" / "tiny-llama-rpi5")
    assert set(manifest.files) > PROGRAMS and manifest.benchmark is not None
    left = subprocess.run(["ssh", "-F", board.config, "127.0.0.1", "ls -A /root"], capture_output=True, timeout=120)
    assert (left.returncode, left.stdout) == (0, b""), "nothing was left behind"
