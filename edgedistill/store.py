"""Where stages leave their folders: each named by a hash of everything that went in, whole or not there.

    runs/<stage>/<key>/            whole; manifest.json was written last
    runs/<stage>/<key>.partial/    work in progress: shards that a rerun continues from
    runs/<stage>/<key>.lock        held while a process works on it, so that two builds wait for each other

key = sha256(stage name and version, and the identity of each argument: configs without NotIdentity fields, component
versions, input artifacts' keys, pinned models, task files, the seed). A failure leaves no manifest, so it is never
taken for a result.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_type_hints

from edgedistill.artifacts import Artifact
from edgedistill.errors import StageFailed
from edgedistill.files import read_json, sha256_of, write_json
from edgedistill.locks import held

P = ParamSpec("P")
A = TypeVar("A", bound=Artifact)

KEY_DIGITS = 32
"""128 bits: enough that two builds never meet by accident."""


@dataclass(frozen=True)
class Stage(Generic[P, A]):
    """A function `(out, …inputs…) -> Artifact`, its name and its version."""

    name: str
    version: int
    function: Callable[Concatenate[Path, P], A]

    @property
    def artifact(self) -> type[A]:
        """The type that the function says it returns."""
        kind: type[A] = get_type_hints(self.function)["return"]
        return kind


def stage(version: int) -> Callable[[Callable[Concatenate[Path, P], A]], Stage[P, A]]:
    """Make a function a stage. Raise `version` when its results can change for the same inputs."""

    def wrap(function: Callable[Concatenate[Path, P], A]) -> Stage[P, A]:
        return Stage(function.__name__, version, function)

    return wrap


@dataclass(frozen=True)
class Step:
    """What became of one stage in one build."""

    name: str
    key: str
    status: str
    """`cached`, `ran`, or in dry mode `would run`"""
    seconds: float
    rows: int | None
    summary: str


@dataclass
class Store:
    """Runs stages, or skips those whose folder is whole. In dry mode nothing runs and nothing is written."""

    runs: Path
    dry: bool = False
    fresh: str | None = None
    """A stage that is to be done again, with all that come after it."""
    until: str | None = None
    """The last stage to run."""
    steps: list[Step] = field(default_factory=list)
    on_step: Callable[[Step], None] = lambda step: None
    """Told of every step when it is over; the command shows a line."""

    def run(self, stage: Stage[P, A], *args: P.args, **kwargs: P.kwargs) -> A:
        """The stage's artifact: the whole folder under its key, made now if need be."""
        # A line may run one stage several times in a row.
        if self.until and self.steps and self.steps[-1].name == self.until != stage.name:
            raise Stopped(self.until)
        key = self._key(stage, args, kwargs)
        folder = self.runs / stage.name / key
        artifact = stage.artifact(folder, key)
        begun = time.monotonic()
        if self.dry:
            status = "cached" if is_whole(folder) else "would run"
        else:
            with held(folder.with_suffix(".lock"), f"{stage.name} {key[:8]}"):
                if self._is_to_be_redone(stage.name):
                    # Before the work: after a kill, a plain rerun goes on with it instead of taking the old result.
                    _remove(folder)
                    _remove(folder.with_suffix(".partial"))
                if is_whole(folder):
                    status = "cached"
                else:
                    self._make(stage, folder, args, kwargs)
                    status = "ran"
        self._note(stage.name, key, status, time.monotonic() - begun, artifact)
        return artifact

    def _make(self, stage: Stage[P, A], folder: Path, args: Any, kwargs: Any) -> None:
        partial = folder.with_suffix(".partial")
        try:
            if not is_whole(partial):  # whole: killed between its last file and its new name
                self._fill(stage, partial, args, kwargs)
        except Exception as error:
            if not _is_disk_full(error):
                raise
            where = getattr(error, "filename", None) or self.runs
            raise StageFailed(
                f"{stage.name}: the disk that holds {where} is full",
                "free some space and run the same command again; what is whole is kept",
            ) from error
        _remove(folder)
        partial.rename(folder)

    def _fill(self, stage: Stage[P, A], partial: Path, args: Any, kwargs: Any) -> None:
        partial.mkdir(parents=True, exist_ok=True)
        for leftover in partial.rglob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink()
        stage.function(partial, *args, **kwargs)
        files = {
            str(path.relative_to(partial)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(partial.rglob("*"))
            if path.is_file()
        }
        content = {"key": partial.stem, "identity": self._identity(stage, args, kwargs), "files": files}
        write_json(partial / "manifest.json", content)

    def _is_to_be_redone(self, name: str) -> bool:
        return self.fresh is not None and self.fresh in (name, *(step.name for step in self.steps))

    def _note(self, name: str, key: str, status: str, seconds: float, artifact: Artifact) -> None:
        counts = {} if status == "would run" else artifact.counts()
        step = Step(name, key, status, seconds, counts.get("rows"), counts.get("summary", ""))
        self.steps.append(step)
        self.on_step(step)

    def _key(self, stage: Stage[P, A], args: Any, kwargs: Any) -> str:
        text = json.dumps(self._identity(stage, args, kwargs), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]

    @staticmethod
    def _identity(stage: Stage[P, A], args: Any, kwargs: Any) -> dict[str, Any]:
        bound = inspect.signature(stage.function).bind(Path(), *args, **kwargs)
        given = {name: identity_of(value) for name, value in list(bound.arguments.items())[1:]}
        return {"stage": stage.name, "version": stage.version, "inputs": given}


class Stopped(Exception):
    """`--until` reached: the build ends here, on purpose."""


def identity_of(value: Any) -> Any:
    """What of an argument can change results, as JSON."""
    if hasattr(value, "identity"):
        return value.identity()
    if isinstance(value, list | tuple):
        return [identity_of(item) for item in value]
    if isinstance(value, dict):
        return {str(key): identity_of(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a stage argument of type {type(value).__name__} has no identity")


def is_whole(folder: Path) -> bool:
    """A manifest is there, and every file it lists has its size."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    files = read_json(manifest)["files"]
    return all((folder / name).is_file() and (folder / name).stat().st_size == f["bytes"] for name, f in files.items())


def _is_disk_full(error: Exception) -> bool:
    """Also when a library reports it in words of its own, as safetensors does."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def _remove(folder: Path) -> None:
    """All of it at once: under a name of its own first, so that a kill never leaves a part under the old name."""
    import shutil

    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)  # of an interrupted removal
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
