"""Measurements -> the folder that ships: the chosen model, everything around it, and how it came to be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgedistill import bundle_manifest, bundle_texts
from edgedistill.artifacts import Bundle, Candidate, Candidates, Measurements
from edgedistill.bundle_manifest import SCHEMA, Data, Device, Lineage, Manifest, Origin
from edgedistill.errors import IntegrityError
from edgedistill.files import licence_texts, sha256_of_all, write_json, write_text
from edgedistill.models import Model
from edgedistill.store import stage
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.toolchain import runtime as runtimes
from edgedistill.toolchain.runtime import Runtime


@stage(version=5)  # v5: the manifest names the target's cores and what runs the model there
def bundle(
    out: Path,
    measured: Measurements,
    candidates: Candidates,
    tuned: Model,
    teacher: Model | None,
    student: Model,
    tasks: list[Task],
    target: Target,
    recipe: str,
    runtime: Runtime | None = None,
) -> Bundle:
    """Put together what ships, around the candidate that `validate` chose. `runtime`: programs that ship with a GGUF.

    Leaves  bundle/: the model, its texts and settings, golden cases, licences, and manifest.json, written last
    Raises  IntegrityError when no candidate was chosen, or the chosen file is not the one that was measured
    """
    made = Bundle(out)
    folder = made.folder
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    folder.mkdir(parents=True)
    found = measured.read()
    line = _chosen(found)
    candidate = _candidate(candidates, line)
    source = candidates.file(candidate)
    model = "onnx" if source.is_dir() else f"model.{candidate.format}"
    _copy_model(source, folder / model, line["sha256"])
    shutil.copyfile(measured.golden, folder / "golden.jsonl")
    lineage = _lineage(recipe, teacher, student, tuned, tasks)
    _write_settings(folder, tuned, tasks)
    if runtime and candidate.format == "gguf":
        _copy_runtime(runtime, folder)
    facts = {
        "recipe": recipe,
        "target": _device(target),
        "model": model,
        "chosen": line,
        "student": found["student"] or {},
        "budgets": found["budgets"],
        "conditions": found.get("conditions", {}),
        "lineage": lineage,
        "versions": found["versions"],
    }
    bundle_texts.write_texts(folder, facts, tuned, tasks)
    _copy_licences(folder / "LICENSES", {**({"teacher": teacher} if teacher else {}), "student": student}, tasks)
    manifest = Manifest(schema_=SCHEMA, files=bundle_manifest.listed(folder), **facts)
    bundle_manifest.write(folder, manifest)
    summary = f"{candidate.format} {candidate.quant}, {candidate.bytes / 1e6:,.1f} MB, {len(manifest.files)} files"
    write_json(out / "counts.json", {"rows": len(manifest.files), "summary": summary})
    return made


def _chosen(measured: dict[str, Any]) -> dict[str, Any]:
    chosen: list[dict[str, Any]] = [line for line in measured["candidates"] if line.get("chosen")]
    if len(chosen) != 1:
        reasons = [
            f"  {line['format']} {line['quant']}: {'; '.join(line.get('rejected_because', ())) or 'no reason given'}"
            for line in measured["candidates"]
        ]
        lines = "\n".join(reasons)
        raise IntegrityError(f"no candidate is fit to ship\n{lines}", "choose other quants, or another student")
    return chosen[0]


def _candidate(candidates: Candidates, line: dict[str, Any]) -> Candidate:
    found = next((candidate for candidate in candidates.rows() if candidate.file == line["file"]), None)
    if found is None or found.sha256 != line["sha256"]:
        raise IntegrityError(f"{line['file']} was measured, but it is not among the candidates with that hash")
    return found


def _copy_model(source: Path, to: Path, sha256: str) -> None:
    if source.is_dir():
        shutil.copytree(source, to)
    else:
        shutil.copyfile(source, to)
    if (found := sha256_of_all(to)) != sha256:
        raise IntegrityError(f"{source} has sha256 {found}, but {sha256} was measured", "`--fresh package` redoes it")


def _copy_runtime(runtime: Runtime, folder: Path) -> None:
    """Checked first: what lay in the cache folder for months may have lost a file."""
    runtimes.manifest(runtime.folder)
    shutil.copytree(runtime.folder, folder / "runtime" / runtime.triple)


def _write_settings(folder: Path, tuned: Model, tasks: list[Task]) -> None:
    write_text(folder / "chat_template.jinja", bundle_texts.chat_template(tuned.path))
    # What was validated is greedy decoding: other settings give other accuracy.
    greedy = {"temperature": 0.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
    write_json(folder / "sampling.json", greedy)
    grammars = [task for task in tasks if task.grammar]
    for task in grammars:
        assert task.grammar is not None
        name = "grammar.gbnf" if len(grammars) == 1 else f"grammar-{task.name}.gbnf"
        shutil.copyfile(task.grammar, folder / name)


def _lineage(recipe: str, teacher: Model | None, student: Model, tuned: Model, tasks: list[Task]) -> Lineage:
    return Lineage(
        recipe=recipe,
        teacher=_origin(teacher) if teacher else None,
        student=_origin(student),
        tuned=tuned.key,
        data=tuple(
            Data(
                task=task.name,
                title=task.info.title,
                description=task.info.description,
                licence=task.info.licence,
                files=task.identity()["files"],
            )
            for task in tasks
        ),
    )


def _origin(model: Model) -> Origin:
    return Origin(name=model.name, sha256="" if model.server else model.key, licence=model.licence)


def _device(target: Target) -> Device:
    return Device(**{name: getattr(target, name) for name in Device.model_fields})


def _copy_licences(folder: Path, models: dict[str, Model], tasks: list[Task]) -> None:
    """Who asks for what, and the licence texts that lie beside the models and tasks."""
    sources = {**{role: model.path for role, model in models.items()}, **{task.name: task.path for task in tasks}}
    for name, source in sources.items():
        for text in licence_texts(source):
            folder.mkdir(exist_ok=True)
            shutil.copyfile(text, folder / f"{name}-{text.name}")
    lines = [f"- {role}: {model.name or model.path.name}: {_licence(model)}" for role, model in models.items()]
    lines += [f"- data of task {task.name}: {task.info.licence}" for task in tasks]
    head = "Licences of what this model was made from, as their cards state them.\n\n"
    write_text(folder / "README.md", head + "\n".join(lines) + "\n")


def _licence(model: Model) -> str:
    if model.server and model.licence == "unknown":
        return "unknown; a server does not state it. Its terms say what may be done with what it wrote"
    return model.licence
