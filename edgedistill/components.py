"""Alternatives found by file name: drop `exporters/tflite.py` in, and `exporter: tflite` exists.

Each folder in FOLDERS holds one kind of alternative. A file is light: it imports torch and the like inside its
functions only, and states `VERSION`, which goes up when its results can change.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from types import ModuleType

from edgedistill.errors import UsageError

FOLDERS = ("engines", "exporters", "methods", "signals", "tasks", "transports")


@cache
def names(folder: str) -> tuple[str, ...]:
    """The alternatives of one kind, sorted."""
    package = importlib.import_module(f"edgedistill.{folder}")
    return tuple(sorted(found.name for found in pkgutil.iter_modules(package.__path__)))


def load(folder: str, name: str) -> ModuleType:
    """The module of one alternative. The name is checked first, so that a broken import inside it is seen as such."""
    if name not in names(folder):
        raise UsageError(f"no {folder[:-1]} named `{name}`; there are: {', '.join(names(folder))}{near(name, folder)}")
    return importlib.import_module(f"edgedistill.{folder}.{name}")


def near(name: str, folder: str) -> str:
    found = difflib.get_close_matches(name, names(folder), n=1)
    return f" (did you mean `{found[0]}`?)" if found else ""
