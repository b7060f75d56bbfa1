"""What each type costs the quickstart's student: prints the README's table of quantizations.

    edgedistill build --target rpi5                                     once, for the student and its tailored rows
    python tests/bench/quantization.py [RUNS] [--items 400] [--only Q4_0,Q4_K_M]

RUNS is the folder of that build, `runs` in the current folder where none is given; without a student in it this is left
out, with that reason.

Every type of llama.cpp's is made without and with the importance matrix of the tailored rows, and so is a mix of at
most the same bits per weight, its types chosen per tensor by measured sensitivity.

KL is the mean over the answer tokens of tailored rows that neither saw, from the float student in torch to the file in
llama.cpp, in nats. Accuracy is that of greedy answers to test items. Nothing here is a time, so a busy machine does no
harm.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from edgedistill import accuracy, gguf_file, inputs, quantized, recipe
from edgedistill.artifacts import Calibration, Student, Tailored
from edgedistill.engine import open_engine
from edgedistill.engines import llama
from edgedistill.exporters import gguf
from edgedistill.files import read_json
from edgedistill.models import Model
from edgedistill.quantization import QUANTS, needs_importance
from edgedistill.quants import QuantEntry
from edgedistill.recipe import Recipe
from edgedistill.stages.calibrate import calibrate
from edgedistill.task import Task

_CONTEXT = 1024
_LIMIT_S = 600
_LOWEST_MIX = 2.7
"""Bits per weight below which the lowest types of a mix do not fit."""


@dataclass(frozen=True)
class Measured:
    """One file."""

    name: str
    bytes: int
    bits: float
    kl: float
    accuracy: float

    def cells(self) -> tuple[str, str]:
        return f"{self.kl:.5f}", f"{self.accuracy:.3f}"


@dataclass
class Judge:
    """The float student, and what files are held against it."""

    calibration: Calibration
    questions: accuracy.Questions
    folder: Path
    log_probs: list[Any]

    def measure(self, file: Path, name: str) -> Measured:
        candidate = gguf._candidate(file, QuantEntry(quant="F16"))
        with llama.open_file(file, context=_CONTEXT) as engine:
            kl = self._kl(engine)
            rows = accuracy.answer(self.folder, name, engine, self.questions)
        right = sum(row["right"] for row in rows) / len(rows)
        return Measured(name, candidate.bytes, candidate.bits_per_weight, kl, right)

    def _kl(self, engine: Any) -> float:
        found = []
        for before, after in zip(self.log_probs, _answers(engine, self.calibration), strict=True):
            moved = before - after[:, : before.shape[1]].astype(np.float64)
            found.append((np.exp(before) * moved).sum(axis=1))
        return float(np.concatenate(found).mean())


def _answers(engine: Any, calibration: Calibration) -> Iterator[Any]:
    """(answer tokens, V) log probabilities of each held-out row."""
    for ids, begin in calibration.part("held_out"):
        yield engine.next_log_probs(ids)[begin - 1 : -1]


def _built(runs: Path) -> tuple[Tailored, Model, list[Task], Recipe] | None:
    """The newest quickstart student in a folder of builds, and the rows that it was trained on; None where there is
    none."""
    made = recipe.load("quickstart")
    tasks, _, base = inputs.open_all(made)
    for manifest in sorted((runs / "distill").glob("*/manifest.json"), key=lambda path: -path.stat().st_mtime):
        given = read_json(manifest)["identity"]["inputs"]
        rows = given["tailored"].get("artifact", "")
        if given["student"].get("model") == base.key and (runs / "tailor" / rows / "manifest.json").is_file():
            student = Student(manifest.parent, manifest.parent.name).model(base)
            return Tailored(runs / "tailor" / rows, rows), student, tasks, made
    return None


def _made(entry: QuantEntry, source: Path, calibration: Calibration | None, judge: Judge) -> Measured | None:
    """None where the type cannot be made without an importance matrix."""
    if calibration is None and entry.quant:
        shapes = gguf_file.read(source).shapes
        if needs_importance(entry.types(shapes, has_importance=False), entry.quant):
            return None
    planned = quantized.plan(entry, source, calibration)
    file = judge.folder / f"{planned.name}{'' if calibration else '-plain'}.gguf"
    quantized.make(source, planned, file, _LIMIT_S)
    measured = judge.measure(file, file.stem)
    file.unlink()
    return measured


def _row(name: str, plain: Measured | None, weighed: Measured, mix: Measured | None) -> str:
    nothing = ("-", "-")
    cells = [
        f"{weighed.bytes / 1e6:.2f} MB",
        f"{weighed.bits:.2f}",
        *(plain.cells() if plain else nothing),
        *weighed.cells(),
        *((f"{mix.bits:.2f}", *mix.cells()) if mix else ("-", *nothing)),
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), default="runs")
@click.option("--items", default=400, help="Test items that are answered.")
@click.option("--only", default="", help="Some types, with commas between them.")
def main(runs: Path, items: int, only: str) -> None:
    built = _built(runs)
    if built is None:
        print(f"left out: {runs} holds no student of quickstart; `edgedistill build --target rpi5` makes one")
        return
    tailored, student, tasks, made = built
    quants = only.split(",") if only else [name for name in QUANTS if name not in ("F16", "BF16")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibration = calibrate.function(folder, student, tailored, tasks, made.calibrate, True, made.seed)
        source = folder / "float.gguf"
        gguf.export_float(student, source)
        asked = accuracy.of(tasks, made.validation.max_tokens)
        questions = accuracy.Questions(asked.items[:items], asked.max_tokens)
        with open_engine(student) as engine:
            log_probs = [answer.astype(np.float64) for answer in _answers(engine, calibration)]
        judge = Judge(calibration, questions, folder, log_probs)
        count = sum(map(len, log_probs))
        print(f"KL over {count:,} answer tokens of {len(log_probs)} held-out rows; accuracy on {len(questions.items)}"
              " test items\n")  # fmt: skip
        print("| type | file | bits | KL | accuracy | KL, imatrix | accuracy | bits of the mix | KL | accuracy |")
        print("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |")
        whole = judge.measure(source, "float")
        print(_row("F16", whole, whole, None), flush=True)
        for quant in quants:
            entry = QuantEntry(quant=quant)
            plain, weighed = (_made(entry, source, given, judge) for given in (None, calibration))
            assert weighed
            fits = weighed.bits >= _LOWEST_MIX
            mix = _made(QuantEntry(bits=round(weighed.bits, 3)), source, calibration, judge) if fits else None
            print(_row(quant, plain, weighed, mix), flush=True)


if __name__ == "__main__":
    main()
