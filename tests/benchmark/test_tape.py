"""A whole `bench --quick`, played from a tape: on any machine, without a device and without llama.cpp.

The tape was recorded once on a real llama-server and llama-bench. It proves that every step comes in its order with the
arguments, scripts and requests that the programs understood then, and that what they answered becomes the right bundle
and report. It does not prove that today's programs still answer so (test_llama.py does), nor that files arrive
(tests/transports): model and programs are too large to be kept, so stubs lie in their places, and the tape names the
stubs' sha256 where it had theirs.

Where `bench` asks something new, record it anew, on a quiet Linux machine with the runtime for `host`:

    EDGEDISTILL_RECORD=1 python -m pytest tests/benchmark/test_tape.py
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgedistill import bundle_manifest, transport
from edgedistill import target as targets
from edgedistill.bundle_manifest import open_bundle
from edgedistill.cli import cli
from edgedistill.devices import tape
from edgedistill.errors import IntegrityError
from edgedistill.files import read_json, sha256_of, write_json, write_text
from edgedistill.toolchain import runtime

KEPT = Path(__file__).parent / "tape"
STUBS = ("model.gguf", "llama-server", "llama-bench", "llama-cli")
KERNEL = "Linux 6"
"""What the tape says of the machine that it was recorded on."""


@pytest.fixture
def recorded(request, monkeypatch) -> None:
    """The tape that is kept, recorded anew where that is asked for."""
    if os.environ.pop("EDGEDISTILL_RECORD", ""):
        _record(request.getfixturevalue("gguf_bundle"), monkeypatch)


@pytest.fixture
def bundle(recorded, tmp_path) -> Path:
    return Path(shutil.copytree(KEPT / "tiny-host", tmp_path / "tiny-host"))


@pytest.fixture
def rows(recorded) -> list[dict[str, Any]]:
    """The lines of the tape."""
    return [json.loads(line) for line in gzip.decompress((KEPT / "quick.tape.gz").read_bytes()).splitlines()]


def bench(bundle: Path, rows: list[dict[str, Any]]) -> Result:
    path = bundle.parent / "quick.tape"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    asked = ["bench", str(bundle), "--device", f"replay://{path}", "--quick", "--anyway", "--json"]
    return CliRunner().invoke(cli, asked, standalone_mode=False)


def test_the_command_comes_to_the_figures_that_the_programs_told(bundle, rows):
    done = bench(bundle, rows)
    assert done.exception is None, done.exception
    report = json.loads(done.stdout)
    (line,) = report["candidates"]
    found = line["latency"]["conditions"]
    assert found["server"].startswith("llama-server b0-")
    assert found["runs"] == 20 and found["memory"] == "peak of llama-server"
    token_ms = [one["predicted_ms"] / (one["predicted_n"] - 1) for one in _timings(rows)]
    assert min(token_ms) <= line["latency"]["token_ms"]["p50"] <= max(token_ms)
    assert line["latency"]["token_ms"]["p50"] == pytest.approx(median(token_ms), rel=0.1)
    (peer,) = (json.loads(row["out"]) for row in rows if row["call"] == "run" and "llama-bench" in row["argv"][0])
    assert found["llama_bench_tg128_tok_s"] == round(next(r["avg_ts"] for r in peer if r["n_gen"]), 2)
    assert line["memory_mib"]["peak"] == round(max(_peaks_mib(rows)), 1)
    assert {budget["verdict"] for budget in report["budgets"]} == {"met"}
    assert report["exit_code"] == done.return_value == 0
    manifest = open_bundle(bundle)
    assert manifest.benchmark is not None and manifest.benchmark["parity"]["passed"]
    assert manifest.benchmark["parity"]["cases"] == manifest.benchmark["parity"]["token_ids"] == 4
    assert manifest.chosen["latency"]["conditions"] == found
    assert json.loads(bundle.with_name(f"{bundle.name}.report.json").read_text()) == report


def test_other_distributions_than_the_golden_cases_have_end_it_and_the_bundle_stays_as_it_was(bundle, rows):
    """What a model with other weights says: the same tokens, each of them much less likely."""
    changed = [_less_likely(row) if row.get("path") == "/completion" else row for row in rows]
    before = bundle_manifest.read(bundle)
    error = bench(bundle, changed).exception
    assert isinstance(error, IntegrityError) and "nats from the float student's" in error.problem
    assert bundle_manifest.read(bundle) == before and not bundle.with_name(f"{bundle.name}.report.json").exists()


def _less_likely(row: dict[str, Any]) -> dict[str, Any]:
    body = base64.b64decode(row["body"]).replace(b'"logprob":-', b'"logprob":-9')
    return {**row, "body": base64.b64encode(body).decode()}


def _timings(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of the answers of full length: those that were timed, and a few to warm up."""
    for row in rows:
        if row.get("path") == "/completion":
            body = json.loads(base64.b64decode(row["body"]))
            if body["timings"]["predicted_n"] == 6 and "completion_probabilities" not in body:
                yield body["timings"]


def _peaks_mib(rows: list[dict[str, Any]]) -> Iterator[float]:
    for row in rows:
        for text in row["texts"].values() if row["call"] == "sample" else ():
            for line in (text or "").splitlines():
                if line.startswith("VmHWM:"):
                    yield int(line.split()[1]) / 1024


def _record(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmark a real bundle on this machine, and keep the tape, and the bundle with stubs for its large files."""
    programs = runtime.installed(targets.load("host"))
    assert programs, "`edgedistill toolchain install --target host` first"
    home = Path(tempfile.gettempdir()) / "edgedistill-tape"  # its paths come on the tape
    shutil.rmtree(home, ignore_errors=True)
    bundle = Path(shutil.copytree(made, home / "tiny-host"))
    wanted = {"system", "empty", "question-1", "question-2"}
    golden = (bundle / "golden.jsonl").read_text().splitlines(keepends=True)
    write_text(bundle / "golden.jsonl", "".join(line for line in golden if json.loads(line)["id"] in wanted))
    shutil.copytree(programs, bundle / "runtime" / programs.name, ignore=shutil.ignore_patterns("LICENSES"))
    about = bundle / "runtime" / programs.name / "manifest.json"
    kept = {name: file for name, file in read_json(about)["files"].items() if name in STUBS}
    write_json(about, {**read_json(about), "files": kept})
    _seal(bundle)
    opened, whole, path = transport.open_device, home / "whole", home / "run.tape"
    shutil.copytree(bundle, whole)
    with monkeypatch.context() as patch:
        patch.setattr(
            transport,
            "open_device",
            lambda *_, **how: tape.record(opened("local", **how, folder=str(home / "device")), path),
        )
        asked = ["bench", str(bundle), "--device", "local", "--quick", "--anyway"]
        CliRunner().invoke(cli, asked, standalone_mode=False, catch_exceptions=False)
    _keep(whole, [json.loads(line) for line in path.read_text().splitlines()])
    shutil.rmtree(home)


def _keep(bundle: Path, rows: list[dict[str, Any]]) -> None:
    for file in (file for file in bundle.rglob("*") if file.name in STUBS):
        file.unlink()
        write_text(file, f"This stands for {file.name}: tests/benchmark/test_tape.py says why.\n")
    about = next(bundle.glob("runtime/*/manifest.json"))
    stubs = {path.name: path for path in about.parent.iterdir() if path.name in STUBS}
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in stubs.items()}
    write_json(about, {**read_json(about), "files": files})
    _seal(bundle)
    stubs["model.gguf"] = bundle / "model.gguf"
    for row in rows:
        if row["call"] == "push" and row["name"] in stubs:
            row["sha256"] = sha256_of(stubs[row["name"]])
        if row["call"] == "facts":
            row["facts"]["kernel"] = KERNEL
    shutil.rmtree(KEPT, ignore_errors=True)
    shutil.copytree(bundle, KEPT / "tiny-host")
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    (KEPT / "quick.tape.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _seal(bundle: Path) -> None:
    """Make the manifest fit the files."""
    manifest = bundle_manifest.read(bundle)
    chosen = {**manifest.chosen, "sha256": sha256_of(bundle / "model.gguf")}
    files = bundle_manifest.listed(bundle)
    bundle_manifest.write(bundle, manifest.model_copy(update={"files": files, "chosen": chosen}))
