"""What a benchmark runs on which device, and with which settings: looked at and decided before anything is pushed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import transport
from edgedistill.benchmark import fit, genai, llama
from edgedistill.benchmark.llama import Pushed
from edgedistill.benchmark.served import Served
from edgedistill.bundle_manifest import Manifest
from edgedistill.devices.facts import Facts
from edgedistill.errors import UsageError
from edgedistill.files import read_json
from edgedistill.golden import GoldenCase
from edgedistill.latency import NEW_TOKENS
from edgedistill.log import say
from edgedistill.toolchain import runtime
from edgedistill.transport import Device

CONTEXT = 1024
"""Tokens of the cache, where the bundle does not say what it was validated with."""


@dataclass(frozen=True)
class Setup:
    """One bundle on one open device."""

    folder: Path
    manifest: Manifest
    device: Device
    facts: Facts
    programs: Path | None
    """llama.cpp's, for this device; None for ONNX, which runs in a Python library on this machine."""
    threads: int | None
    context: int
    new_tokens: int
    """Of each request."""
    other_device: str | None = None
    """What the device is, where it is not of the target's kind; an emulated one is not asked."""

    @property
    def conditions(self) -> dict[str, Any]:
        """What makes two runs comparable: a cut run goes on only with the same."""
        return {
            "where": str(self.device.address),
            "model_sha256": self.manifest.chosen["sha256"],
            "runtime": runtime.manifest(self.programs)["key"] if self.programs else self.manifest.chosen["format"],
            "threads": self.threads,
            "context": self.context,
            "answer_tokens": self.new_tokens,
            # Every runtime that is built here, or comes from the package index, runs on the CPU.
            "backend": "cpu",
            "target_backend": self.manifest.target.backend,
            "other_device": self.other_device,
        }

    def push(self) -> Pushed | None:
        return llama.push(self.device, self.folder, self.manifest, self.programs) if self.programs else None

    def serving(self, pushed: Pushed | None, what: str) -> AbstractContextManager[Served]:
        """The model, answering with the bundle's own settings: context, threads, template, sampling.

        what  the process is for, a word in the name of its log
        """
        if pushed is None:
            model, format_name = self.folder / self.manifest.model, self.manifest.chosen["format"]
            return genai.serving(model, format_name, context=self.context, threads=self.threads)
        sampling = read_json(self.folder / "sampling.json")
        how = {"context": self.context, "threads": self.threads, "sampling": sampling}
        return llama.serving(self.device, pushed, **how, log=f"llama-server-{what}.log")

    def prompts(self, cases: Sequence[GoldenCase]) -> list[list[int]]:
        """Token ids of the recipe's own questions; of all cases where none is plain. All fit with their answer."""
        fitting = [case for case in cases if len(case.token_ids) < self.context - self.new_tokens]
        plain = [case for case in fitting if case.id.startswith("question")]
        if not fitting:
            raise UsageError(f"no golden case leaves room for {self.new_tokens} tokens in a context of {self.context}")
        return [case.token_ids for case in plain or fitting]


def check_address(manifest: Manifest, address: str) -> None:
    """Whether the bundle's runtime can be there at all; asks nobody. Raises UsageError."""
    if manifest.chosen["format"] != "gguf" and transport.parse(address).scheme != "local":
        raise UsageError(
            f"{manifest.name} is an ONNX bundle: its runtime is a Python library, which is measured on this machine",
            "`--device local`, or choose GGUF for the device: `--set package.exporter=gguf`",
        )


def of(folder: Path, manifest: Manifest, device: Device, new_tokens: int | None = None) -> Setup:
    """Check that the device fits, have the runtime built if need be, and decide the settings.

    new_tokens  None: an answer of the task's usual length
    Raises      WrongArchitecture, CpuLacksFeature; DeviceError for too little memory
    """
    facts = device.facts()
    triple = manifest.target.triple
    fit.check_machine(facts, facts.machine if triple == "native" else triple.partition("-")[0], (), manifest)
    programs = _programs(folder, manifest)
    if programs:
        about = runtime.manifest(programs)
        fit.check_machine(facts, about["triple"].partition("-")[0], tuple(about["needs"]), manifest)
    fit.check_memory(facts, manifest)
    other = None if device.evidence == "emulated" else fit.other_device(facts, fit.target_of(manifest))
    if other:
        say(f"note: the device is {other}, not {manifest.target.title}: what is measured proves nothing about that")
    context = int(manifest.conditions.get("context") or CONTEXT)
    usual = round(manifest.conditions.get("answer_tokens") or NEW_TOKENS)
    # More threads than cores wait for each other in turns, 10 to 100 times slower: an emulator may have fewer.
    threads = min(filter(None, (manifest.target.threads, facts.cores)), default=None)
    length = new_tokens or max(2, min(usual, context // 2))
    return Setup(folder, manifest, device, facts, programs, threads, context, length, other)


def _programs(folder: Path, manifest: Manifest) -> Path | None:
    """llama.cpp's programs: the bundle's own, else those for its target, built now if need be."""
    if manifest.chosen["format"] != "gguf":
        return None
    shipped = next((folder / "runtime").glob("*/manifest.json"), None)
    return shipped.parent if shipped else runtime.install(fit.target_of(manifest))
