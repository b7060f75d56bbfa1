"""Student -> candidates: the same model in each format and quantization that the recipe asks for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgedistill import components
from edgedistill.artifacts import Calibration, Candidate, Candidates, Tailored
from edgedistill.files import write_json, write_rows
from edgedistill.models import Model
from edgedistill.sections import PackageConfig
from edgedistill.stages.distill import plain_rows
from edgedistill.store import stage
from edgedistill.task import Task


@stage(version=4)  # v4: the same for every target
def package(
    out: Path,
    student: Model,
    configs: tuple[PackageConfig, ...],
    tailored: Tailored | None,
    tasks: list[Task],
    calibration: Calibration | None = None,
) -> Candidates:
    """Export the tuned student, and list what came out.

    Reads   Tailored: task, question, rationale. Exporters measure on them what a quantization costs; never on items.
            None for a student that was trained elsewhere
            Calibration: importance of columns and cost of matrices, where an exporter's config needs them
    Leaves  the candidates' files; candidates.jsonl: one Candidate per line, in the order of the recipe
    Raises  UsageError when the student lacks tensors or numbers
    """
    from edgedistill.ml import soundness

    soundness.check(student)
    rows = plain_rows(tasks, tailored) if tailored else []
    candidates: list[Candidate] = []
    for config in configs:
        exporter = components.load("exporters", config.exporter)
        more = {"calibration": calibration} if config.needs_calibration else {}
        candidates += exporter.export(out, student, config, rows, **more)
    write_rows(out / "candidates.jsonl", [asdict(candidate) for candidate in candidates])
    shipping = [candidate for candidate in candidates if candidate.ships]
    smallest, largest = (pick(shipping, key=lambda c: c.bytes) for pick in (min, max))
    count = f"{len(shipping)} candidate{'s' if len(shipping) != 1 else ''}"
    summary = f"{count}, {_size(smallest)}" + (f" to {_size(largest)}" if len(shipping) > 1 else "")
    write_json(out / "counts.json", {"rows": len(shipping), "summary": summary})
    return Candidates(out)


def _size(candidate: Candidate) -> str:
    return f"{candidate.bytes / 1e6:,.1f} MB ({candidate.quant})"
