"""Student -> candidates: the same model in each format and quantization that the recipe asks for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgedistill import components
from edgedistill.artifacts import Calibration, Candidate, Candidates, Tailored
from edgedistill.errors import UsageError
from edgedistill.files import write_json, write_rows
from edgedistill.models import Model
from edgedistill.sections import PackageConfig
from edgedistill.stages.distill import plain_rows
from edgedistill.store import stage
from edgedistill.target import Target
from edgedistill.task import Task


@stage(version=3)  # v3: the float file that GGUF candidates are made of is kept; mixes are measured
def package(
    out: Path,
    student: Model,
    target: Target,
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
    Raises  UsageError when the target has no runtime for an exporter's format, or the student lacks tensors or numbers
    """
    from edgedistill.ml import soundness

    exporters = [components.load("exporters", config.exporter) for config in configs]
    for exporter in exporters:
        _check_format(exporter.FORMAT, target)
    soundness.check(student)
    rows = plain_rows(tasks, tailored) if tailored else []
    candidates: list[Candidate] = []
    for exporter, config in zip(exporters, configs, strict=True):
        more = {"calibration": calibration} if config.needs_calibration else {}
        candidates += exporter.export(out, student, target, config, rows, **more)
    write_rows(out / "candidates.jsonl", [asdict(candidate) for candidate in candidates])
    shipping = [candidate for candidate in candidates if candidate.ships]
    smallest, largest = (pick(shipping, key=lambda c: c.bytes) for pick in (min, max))
    count = f"{len(shipping)} candidate{'s' if len(shipping) != 1 else ''}"
    summary = f"{count}, {_size(smallest)}" + (f" to {_size(largest)}" if len(shipping) > 1 else "")
    write_json(out / "counts.json", {"rows": len(shipping), "summary": summary})
    return Candidates(out)


def _check_format(name: str, target: Target) -> None:
    if name not in target.formats:
        raise UsageError(
            f"target `{target.name}` has no runtime for {name}; it has: {', '.join(target.formats)}",
            "choose another `package.exporter` in the recipe, or add the format to the target's `formats`",
        )


def _size(candidate: Candidate) -> str:
    return f"{candidate.bytes / 1e6:,.1f} MB ({candidate.quant})"
