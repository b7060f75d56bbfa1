"""Recipes and targets on disk: where they lie, how they are read, and every problem of one in one message."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edgedistill.errors import UsageError

M = TypeVar("M", bound=BaseModel)

CHOICES = {
    "prefer": ("signals", "signal"),
    "distill": ("methods", "method"),
    "package": ("exporters", "exporter"),
}
"""Section that names a component -> the folder of its alternatives, and the key that names one."""


def shipped(kind: str) -> Path:
    """The folder of shipped `recipes` or `targets`: inside the wheel, or beside the package in a clone."""
    inside = Path(__file__).parent / kind
    return inside if inside.is_dir() else Path(__file__).parent.parent / kind


def names(kind: str) -> dict[str, Path]:
    """Shipped name -> file: `NAME.yaml`, or for recipes also `NAME/recipe.yaml`."""
    root = shipped(kind)
    found = {path.stem: path for path in root.glob("*.yaml")}
    found |= {path.parent.name: path for path in root.glob("*/recipe.yaml")}
    return dict(sorted(found.items()))


def find(kind: str, name: str) -> Path:
    """The file of a shipped name, or of a path to a YAML file or to a folder with `recipe.yaml`."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        path = path / "recipe.yaml" if path.is_dir() else path
        if not path.is_file():
            raise UsageError(f"{kind[:-1]} file {path} does not exist")
        return path.resolve()
    known = names(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        guess = f" (did you mean `{near[0]}`?)" if near else ""
        folder = " or a folder with recipe.yaml" if kind == "recipes" else ""
        raise UsageError(
            f"no {kind[:-1]} named `{name}`{guess}; there are: {', '.join(known) or 'none'}",
            f"`edgedistill {kind}` lists them; a path to a YAML file{folder} works too",
        )
    return known[name]


def read(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, with `a.b=value` overrides (value in YAML) laid over it."""
    try:
        raw = _parsed(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are not UTF-8, or a date like 2026-13-45
        raise UsageError(f"{path} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UsageError(f"{path} holds {type(raw).__name__}, expected a mapping of sections")
    for override in overrides:
        lay_over(raw, override)
    return raw


def lay_over(raw: dict[str, Any], override: str) -> None:
    """Change one value: `a.b=value`, the value in YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override}: expected KEY=VALUE", "for example `--set tailor.rows=500`")
    *parents, last = key.split(".")
    section: Any = raw
    for parent in parents:
        section = _entered(section, parent, override)
        if not isinstance(section, dict | list):
            raise UsageError(f"--set {override}: `{parent}` is not a section")
    if isinstance(section, list):
        raise UsageError(f"--set {override}: `{parents[-1]}` is a list; say which entry: `{parents[-1]}.0.{last}`")
    try:
        section[last] = _parsed(value)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"--set {override}: the value is not YAML: {error}") from None


def _entered(section: Any, key: str, override: str) -> Any:
    """What lies below a key, or below a place from 0 in a list."""
    if isinstance(section, dict):
        return section.setdefault(key, {})
    if not (key.isdigit() and int(key) < len(section)):
        raise UsageError(f"--set {override}: `{key}` is no place in a list of {len(section)}; they count from 0")
    return section[int(key)]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"`{key.value}` is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def _parsed(text: str) -> Any:
    return yaml.load(text, _Loader)


def parse(model: type[M], raw: dict[str, Any], title: str, path: Path, own: Mapping[str, Any] | None = None) -> M:
    """Validate, or raise one UsageError that lists every problem with its key and a near match.

    `own` are the fields that the loader fills in, which the file itself must not.
    """
    own = own or {}
    problems = [f"{key}: comes from where the file lies; leave it out" for key in own if key in raw]
    try:
        made = model.model_validate({**raw, **own})
    except ValidationError as error:
        problems += [_problem(model, problem, own, raw) for problem in error.errors()]
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise UsageError(f"{title} has {count}\n" + "\n".join(f"  {line}" for line in problems), f"the file is {path}")
    return made


def _problem(model: type[BaseModel], problem: Any, own: Mapping[str, Any], raw: dict[str, Any]) -> str:
    keys, fields = _follow(model, _written(problem["loc"], raw))
    fields = [field for field in fields if len(keys) > 1 or field not in own]
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], fields, n=1)
        return f"{key}: unknown key" + (f", did you mean `{near[0]}`?" if near else f"; known: {', '.join(fields)}")
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] == "union_tag_invalid":
        tag, known = problem["ctx"]["tag"], problem["ctx"]["expected_tags"].replace("'", "")
        choice = CHOICES[_section(keys)][1]
        near = difflib.get_close_matches(str(tag), known.split(", "), n=1)
        guess = f" (did you mean `{near[0]}`?)" if near else ""
        return f"{key}.{choice}: no {choice} named `{tag}`{guess}; there are: {known}"
    if problem["type"] in ("union_tag_not_found", "model_type"):
        return f"{key}: should be a section of keys and values, got {_short(problem['input'])}"
    if problem["type"] == "value_error":  # our own words, which say the value
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    message = problem["msg"].removeprefix("Input ")
    return f"{key}: {message[0].lower()}{message[1:]}, got {_short(problem['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _written(location: tuple[int | str, ...], raw: Any) -> tuple[int | str, ...]:
    """The location as the file has it: where one section may stand for a list of them, no number."""
    kept: list[int | str] = []
    for part in location:
        if isinstance(part, int) and not isinstance(raw, list):
            continue
        kept.append(part)
        inner = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and isinstance(part, int))
        raw = raw[part] if inner else raw  # a component's tag stands in the location alone
    return tuple(kept)


def _section(keys: list[str]) -> str:
    """The last key that is not a number in a list."""
    return next((key for key in reversed(keys) if not key.isdigit()), "")


def _follow(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The location as the file's own keys (component tags left out), and the keys known where it ends."""
    from edgedistill import components

    keys: list[str] = []
    fields = _keys_of(model)
    current: type[BaseModel] | None = model
    for part in location:
        holder = current
        if isinstance(part, str) and keys and part not in fields:
            chosen = _config_named(part, _section(keys), components)
            if chosen is not None:
                current, fields = chosen, _keys_of(chosen)
                continue
        keys.append(str(part))
        if holder is not None and isinstance(part, str):
            inner = _section_of(holder, part)
            if inner is not None:
                current, fields = inner, _keys_of(inner)
    return keys, fields


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_of(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section class that a key of the file holds, when it holds one."""
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return None


def _config_named(tag: str, section: str, components: Any) -> type[BaseModel] | None:
    folder = CHOICES[section][0] if section in CHOICES else ""
    if not folder or tag not in components.names(folder):
        return None
    config: type[BaseModel] = components.load(folder, tag).Config
    return config
