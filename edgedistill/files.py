"""JSON, JSON Lines and hashes on disk. Writes are atomic: a file has its whole content or is not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """A file itself, or every file below a folder, sorted by name."""
    return [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in files_of(path))


def sha256_of_all(path: Path) -> str:
    """Of a file, or of the names and hashes of all files below a folder, one `name sha256` a line."""
    if path.is_file():
        return sha256_of(path)
    lines = [f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n" for file in files_of(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def licence_texts(folder: Path) -> list[Path]:
    """The licence files that lie in a folder, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("LICENSE*") if path.is_file())


def write_text(path: Path, text: str) -> Path:
    """Write beside, flush to the disk, then rename: a kill or a full disk leaves the old file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def publish(made: Path, to: Path) -> Path:
    """Flush a file, or all files below a folder, to the disk, then rename: under its own name it is always whole."""
    for file in files_of(made):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    return made.replace(to)


def write_json(path: Path, value: Any) -> Path:
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file. Raises ValueError with the line's number for what is not JSON."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"line {number}: {error.msg} at character {error.pos + 1}") from None
