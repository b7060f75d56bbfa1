"""Student -> candidates: the same model in each format and quantization that the recipe asks for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgedistill import components
from edgedistill.artifacts import Candidate, Candidates
from edgedistill.errors import UsageError
from edgedistill.files import write_json, write_rows
from edgedistill.models import Model
from edgedistill.sections import PackageConfig
from edgedistill.store import stage
from edgedistill.target import Target


@stage(version=1)
def package(out: Path, student: Model, target: Target, config: PackageConfig) -> Candidates:
    """Export the tuned student, and list what came out.

    Leaves  the candidates' files; candidates.jsonl: one Candidate per line, in the order of the recipe
    Raises  UsageError when the target has no runtime for the exporter's format
    """
    exporter = components.load("exporters", config.exporter)
    if exporter.FORMAT not in target.formats:
        raise UsageError(
            f"target `{target.name}` has no runtime for {exporter.FORMAT}; it has: {', '.join(target.formats)}",
            "choose another `package.exporter` in the recipe, or add the format to the target's `formats`",
        )
    candidates: list[Candidate] = exporter.export(out, student, target, config)
    write_rows(out / "candidates.jsonl", [asdict(candidate) for candidate in candidates])
    smallest, largest = (pick(candidates, key=lambda c: c.bytes) for pick in (min, max))
    count = f"{len(candidates)} candidate{'s' if len(candidates) != 1 else ''}"
    summary = f"{count}, {_size(smallest)}" + (f" to {_size(largest)}" if len(candidates) > 1 else "")
    write_json(out / "counts.json", {"rows": len(candidates), "summary": summary})
    return Candidates(out)


def _size(candidate: Candidate) -> str:
    return f"{candidate.bytes / 1e6:,.1f} MB ({candidate.quant})"
