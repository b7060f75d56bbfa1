"""The files of a report, whichever schema it has: written, told apart, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_json, write_text

R = TypeVar("R", bound=BaseModel)


def as_json(report: BaseModel) -> dict[str, Any]:
    """The report under the schema's own names."""
    return report.model_dump(mode="json", by_alias=True)


def save(report: BaseModel, stem: Path, *, markdown: str, html: str) -> dict[str, Path]:
    """Write `<stem>.json`, `.md` and `.html`."""
    return {
        "json": write_json(stem.with_name(f"{stem.name}.json"), as_json(report)),
        "md": write_text(stem.with_name(f"{stem.name}.md"), markdown),
        "html": write_text(stem.with_name(f"{stem.name}.html"), html),
    }


def is_of(path: Path, schema: str) -> bool:
    """Whether a report.json is of this schema, in any version; one that cannot be read is not."""
    try:
        content = read_json(path)
    except ValueError:
        return False
    family = schema.rpartition("/")[0]
    return isinstance(content, dict) and str(content.get("schema", "")).startswith(f"{family}/")


def load(kind: type[R], path: Path, schema: str, hint: str) -> R:
    """Read a report.json back; UsageError, with what to do, when it is none of this schema."""
    try:
        return kind.model_validate(read_json(path))
    except ValueError as error:  # pydantic's and json's are children of it
        said = str(error).splitlines()[0]
        raise UsageError(f"{path} is not a report of schema {schema}: {said}", hint) from None
