"""A bundle's manifest, `schema: edgedistill.bundle/1`: what is in the folder, and where it all comes from.

Every file is listed with size and hash, so a bundle can be checked wherever it went: on the developer's machine, in the
app's build, on the device.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from edgedistill.errors import IntegrityError, UsageError
from edgedistill.files import read_json, sha256_of, write_json
from edgedistill.sections import Section
from edgedistill.target import Cores

SCHEMA: Final = "edgedistill.bundle/1"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
_BESIDE_THE_LIST = (MANIFEST, SIGNATURE)
"""Files that the manifest cannot list: itself, and what is made from it."""


class File(Section):
    """What a file must be."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Origin(Section):
    """A model that went in."""

    name: str
    """What the recipe calls it: a folder, a hub id with its revision, or a name with the server's address."""
    sha256: str
    """Over its weights and tokenizer; empty for a model that answered on a server."""
    licence: str


class Data(Section):
    """A task that went in."""

    task: str
    title: str
    description: str = ""
    """Head of every prompt that the model was trained on (prompts.plain_prompt): an app must send it too."""
    licence: str
    files: dict[str, str]
    """File -> sha256."""


class Lineage(Section):
    """Everything that made the model."""

    recipe: str
    teacher: Origin | None = None
    """None for a student that was packaged as it came."""
    student: Origin
    """Before tuning."""
    tuned: str
    """Key of the stage that tuned it: a hash of everything that went into the training. Of a student that was packaged
    as it came, its own hash."""
    data: tuple[Data, ...]


class Device(Section):
    """The target, as far as the bundle depends on it."""

    name: str
    title: str
    soc: str
    triple: str
    cpu: str
    threads: int | None
    backend: Literal["cpu", "gpu", "npu"] = "cpu"
    """What its figures are of."""
    cores: tuple[Cores, ...] = ()
    """By which another device is told from it."""


class Manifest(Section):
    """manifest.json of a bundle."""

    schema_: Annotated[Literal["edgedistill.bundle/1"], Field(alias="schema")]
    recipe: str
    target: Device
    model: str
    """Which of the files is the model, or the folder of its files."""
    chosen: dict[str, Any]
    """The candidate, with what was found out about it: an entry of the report's `candidates`."""
    student: dict[str, Any]
    """Accuracy before tuning and after, as in the report."""
    budgets: tuple[dict[str, Any], ...]
    """Limits and verdicts with their evidence, as in the report."""
    conditions: dict[str, Any]
    """Under which everything was measured."""
    lineage: Lineage
    versions: dict[str, str]
    """Program or package -> version, of everything used."""
    benchmark: dict[str, Any] | None = None
    """The run of `edgedistill bench` that the figures of `chosen` are of: when, where, with which evidence, how the
    golden cases came out there, latency and memory."""
    elsewhere: dict[str, Any] | None = None
    """A later run under an emulator or on another device, or a quick one after a full one, likewise: it changes no
    figure."""
    files: dict[str, File]
    """Path inside the bundle -> what the file must be."""

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.target.name}"


def listed(folder: Path) -> dict[str, File]:
    """Every file of a folder that is about to become a bundle."""
    return {name: file_of(path) for name, path in _present(folder).items()}


def file_of(path: Path) -> File:
    """What a file must be from now on."""
    return File(bytes=path.stat().st_size, sha256=sha256_of(path))


def write(folder: Path, manifest: Manifest) -> Path:
    """Last of all files: a folder without it is not a bundle."""
    return write_json(folder / MANIFEST, manifest.model_dump(mode="json", by_alias=True))


def open_bundle(folder: Path) -> Manifest:
    """The manifest of a bundle, after every file was checked against it.

    Raises  UsageError when the folder is no bundle, IntegrityError that names each file which is changed, missing, or
            not on the list
    """
    manifest = read(folder)
    present = _present(folder)
    problems = [problem for name, file in manifest.files.items() for problem in _problems(folder, name, file)]
    problems += [f"{name}: not in the manifest" for name in present if name not in manifest.files]
    if not any(name == manifest.model or name.startswith(f"{manifest.model}/") for name in manifest.files):
        problems.append(f"{manifest.model}: named as the model, but not in the manifest's list")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems[:20])
        raise IntegrityError(
            f"bundle {folder} is not what its manifest says\n{lines}", "fetch or build it again; do not ship this one"
        )
    return manifest


def read(folder: Path) -> Manifest:
    """The manifest alone, without a look at the other files."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} is no bundle: it has no {MANIFEST}", "`edgedistill build` leaves bundles in dist/")
    try:
        return Manifest.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{path} is not a manifest of schema {SCHEMA}: {place}: {first['msg']}") from None
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}") from None


def _present(folder: Path) -> dict[str, Path]:
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    return {name: path for name, path in found.items() if name not in _BESIDE_THE_LIST}


def _problems(folder: Path, name: str, file: File) -> list[str]:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        return [f"{name}: a name that leads out of the bundle"]
    path = folder / name
    if path.is_symlink():
        return [f"{name}: a link, expected a file"]
    if not path.is_file():
        return [f"{name}: missing"]
    if path.stat().st_size != file.bytes:
        return [f"{name}: {path.stat().st_size:,} bytes, expected {file.bytes:,}"]
    found = sha256_of(path)
    return [] if found == file.sha256 else [f"{name}: sha256 {found}, expected {file.sha256}"]
