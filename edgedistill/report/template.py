"""HTML pages: one file each, no scripts, nothing from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_GENERAL = Path(__file__).parent


def rendered(folder: Path, name: str, given: dict[str, Any]) -> str:
    """The template of that name in `folder`, which may include those beside this file; what comes from a recipe or a
    model is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, _GENERAL]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(given)
