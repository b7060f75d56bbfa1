"""Small whole bundles of a real model, as `build` leaves them, and a folder of calibrations of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgedistill import bundle_manifest, golden, transport
from edgedistill import target as targets
from edgedistill.artifacts import Candidate
from edgedistill.benchmark import llama
from edgedistill.benchmark.run import Found
from edgedistill.bundle_manifest import SCHEMA, Device, Lineage, Manifest, Origin, open_bundle
from edgedistill.engine import open_engine
from edgedistill.files import write_json, write_rows, write_text
from edgedistill.models import Model
from edgedistill.toolchain import runtime

QUESTIONS = [
    f"{line} {n}" for n in range(4) for line in ("Turn off the light", "Is it true that", "what is the weather")
]
HOST = Device(name="host", title="this machine", soc="", triple="native", cpu="native", threads=1)
RPI5 = Device(name="rpi5", title="Raspberry Pi 5", soc="", triple="aarch64-linux-musl", cpu="cortex_a76", threads=1)
CONTEXT, ANSWER = 256, 8
CONDITIONS = {
    "context": CONTEXT, "max_tokens": ANSWER, "first_token_kl_max": 0.5, "answer_kl_max": 0.2, "answer_tokens": 6.4,
}  # fmt: skip
PREDICTED = {
    "first_token_ms": {"p50": 5.0, "low": 3.0, "high": 8.0},
    "decode_tok_s": {"p50": 700.0, "low": 400.0, "high": 1400.0},
    "prefill_tok_s": 9000.0,
    "evidence": "predicted",
    "conditions": {"interval": "80%"},
}
LIMITS = {"first_token_ms": (5000.0, "ms"), "decode_tok_s": (1.0, "tok/s"), "memory_mib": (4096.0, "MiB")}

MEASURED_UNDER: dict[str, Any] = {
    "where": "ssh://pi@board", "server": "llama-server b1", "runs": 100, "prompt_tokens": 40, "new_tokens": 21,
    "noisy": None, "throttled": None, "extent": "full", "warm_up": 5, "backend": "cpu", "target_backend": "cpu",
    "other_device": None,
}  # fmt: skip
LATENCY: dict[str, Any] = {
    "first_token_ms": {"p50": 5100.0, "p90": 5200.0, "p99": 5300.0},
    "token_ms": {"p50": 50.0, "p90": 55.0, "p99": 60.0},
    "prompt_token_ms": {"p50": 127.5, "p90": 130.0, "p99": 132.5},
    "decode_tok_s": {"p50": 20.0, "p10": 18.18},
    "prefill_tok_s": 7.84,
    "evidence": "measured",
    "conditions": MEASURED_UNDER,
}
PARITY = {"cases": 8, "prompt_text": 8, "token_ids": 8, "first_token_kl_max": 0.01, "greedy_text": 7, "passed": True}

Bundle = Callable[..., Path]


@pytest.fixture(autouse=True)
def data_home(tmp_path, monkeypatch) -> Path:
    """Calibrations of tests are no calibrations of the user's devices."""
    home = tmp_path / "data-home"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def cases_of() -> Callable[[Path], list[golden.GoldenCase]]:
    """Model folder -> its golden cases."""

    def make(model: Path) -> list[golden.GoldenCase]:
        with open_engine(Model(model, "tiny")) as student:
            asked = golden.conversations(QUESTIONS, 8)
            return golden.make(asked, student, count=8, max_tokens=ANSWER, context=CONTEXT)

    return make


@pytest.fixture(scope="session")
def golden_cases(tiny_llama, cases_of) -> list[golden.GoldenCase]:
    return cases_of(tiny_llama)


@pytest.fixture
def bundle_of(tiny_llama, golden_cases, tmp_path) -> Bundle:
    """(source, candidate, device=…, cases=…) -> a published bundle of one candidate."""

    def make(source: Path, candidate: Candidate, device: Device = HOST, cases: Any = None) -> Path:
        folder = tmp_path / "dist" / f"tiny-{device.name}"
        folder.mkdir(parents=True)
        model = "onnx" if source.is_dir() else "model.gguf"
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / model)
        write_rows(folder / "golden.jsonl", [asdict(case) for case in cases or golden_cases])
        shutil.copyfile(tiny_llama / "chat_template.jinja", folder / "chat_template.jinja")
        write_json(folder / "sampling.json", {"temperature": 0.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0})
        manifest = Manifest(
            schema_=SCHEMA,
            recipe="tiny",
            target=device,
            model=model,
            chosen=_chosen(candidate),
            student={},
            budgets=tuple(_budget(name, *limit) for name, limit in LIMITS.items()),
            conditions=CONDITIONS,
            lineage=Lineage(
                recipe="tiny", student=Origin(name="tiny", sha256="0" * 64, licence="apache-2.0"), tuned="t", data=()
            ),
            versions={},
            files={},
        )
        rows = "".join(f"| {b['name']} | {b['limit']} | {b['value']} | {b['unit']} | {b['verdict']} | predicted |\n"
                       for b in manifest.budgets)  # fmt: skip
        write_text(folder / "MODEL_CARD.md", f"# tiny\n\n| budget | limit |\n| --- | --- |\n{rows}\nEnd.\n")
        bundle_manifest.write(folder, manifest.model_copy(update={"files": bundle_manifest.listed(folder)}))
        return folder

    return make


_NOT_TOLD = ("parameters", "read_bytes", "ships")
"""What `validate` does not tell of a candidate."""


def _chosen(candidate: Candidate) -> dict[str, Any]:
    described = {key: value for key, value in asdict(candidate).items() if key not in _NOT_TOLD}
    memory = {"peak": 40.0, "low": 1.0, "high": 60.0, "evidence": "predicted"}
    parity = {"cases": 8, "prompt_text": 8, "token_ids": 8, "greedy_text": 8, "first_token_kl_max": 0.0, "passed": True}
    told = {"accuracy": None, "latency": PREDICTED, "memory_mib": memory, "parity": parity}
    return {**described, **told, "chosen": True, "rejected_because": []}


def _budget(name: str, limit: float, unit: str) -> dict[str, Any]:
    how = {"verdict": "unproven", "evidence": "predicted, no device at hand"}
    return {"name": name, "limit": limit, "value": 7.0, "unit": unit, **how}


@pytest.fixture
def gguf_bundle(tiny_candidates, bundle_of) -> Path:
    """tiny_llama as Q8_0, for this machine."""
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    return bundle_of(tiny_candidates.file(candidate), candidate)


@pytest.fixture
def found() -> Callable[..., Found]:
    """(evidence, conditions…) -> what a benchmark might have found."""

    def make(evidence: str = "measured", **conditions: Any) -> Found:
        latency = {**LATENCY, "evidence": evidence, "conditions": {**MEASURED_UNDER, **conditions}}
        return Found(PARITY, latency, {"peak": 512.0, "evidence": evidence}, Path("raw.jsonl"))

    return make


@pytest.fixture(scope="session")
def where() -> tuple[str, Device, Path]:
    """Address, device and programs of a runtime that is built already."""
    if native := runtime.installed(targets.load("host")):
        return "local", HOST, native
    board = runtime.installed(targets.load("rpi5"))
    if board and shutil.which("qemu-aarch64-static"):
        return "qemu://cortex-a76", RPI5, board
    pytest.skip("needs llama-server: `edgedistill toolchain install --target host`, or --target rpi5 and QEMU")


@pytest.fixture
def bundle(where, tiny_candidates, bundle_of) -> Path:
    """The same for the device of `where`."""
    candidate = next(one for one in tiny_candidates.rows() if one.quant == "Q8_0")
    return bundle_of(tiny_candidates.file(candidate), candidate, where[1])


@pytest.fixture
def server(where, bundle) -> Iterator[llama.LlamaServer]:
    """A real llama-server with it."""
    address, _, programs = where
    with transport.open_device(address) as device:
        pushed = llama.push(device, bundle, open_bundle(bundle), programs)
        with llama.serving(device, pushed, context=CONTEXT, threads=1, sampling={"top_k": 1}) as served:
            yield served
