"""Imports go down only, and starting is light."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "edgedistill"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

ALTERNATIVES = ("signals", "methods", "exporters", "transports", "engines", "tasks")
TOP = {"cli": 6, "__main__": 6, "commands": 6, "stages": 4, "ml": 2}
TOP |= dict.fromkeys(("build", "arms", "contest", "contenders", "schooling", "report"), 5)
TOP |= {"errors": 0, "log": 0}
"""Floor of each module or folder directly below the package; alternatives are 3, and everything else is 1."""

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "numpy", "scipy", "llama_cpp", "gguf")
HEAVY += ("onnx", "onnxruntime", "onnxruntime_genai")


def floor(module: str) -> int:
    first = module.split(".")[1] if "." in module else ""
    return 3 if first in ALTERNATIVES else TOP.get(first, 1)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports anywhere but for type checks, and whether it does so at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = {id(inner) for node in ast.walk(tree) if is_type_checking(node) for inner in ast.walk(node)}
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in checked:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = PACKAGE.parent / (node.module or "").replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield (f"{node.module}.{alias.name}" if is_module else str(node.module)), id(node) in top


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_there_are_modules():
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path):
    own = name_of(path)
    upward = [
        other
        for other, _ in imports(path)
        if other.split(".")[0] == "edgedistill" and other != "edgedistill" and floor(other) > floor(own)
    ]
    assert not upward, f"{own} (floor {floor(own)}) imports from above: {upward}"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "stages"], ids=name_of)
def test_stages_reach_components_by_name(path):
    named = [other for other, _ in imports(path) if other.split(".")[1:2] and other.split(".")[1] in ALTERNATIVES]
    assert not named, f"{name_of(path)} imports {named}; use components.load or open_engine"


@pytest.mark.parametrize("path", [p for p in MODULES if "ml" not in p.parts], ids=name_of)
def test_heavy_libraries_are_imported_inside_functions(path):
    heavy = [other for other, is_top in imports(path) if is_top and other.split(".")[0] in HEAVY]
    heavy += [other for other, is_top in imports(path) if is_top and other.startswith("edgedistill.ml.")]
    assert not heavy


def test_an_upward_import_would_be_seen(tmp_path, monkeypatch):
    """The check can fail: a low module that imports the command line, also inside a function."""
    (tmp_path / "edgedistill").mkdir()
    bad = tmp_path / "edgedistill" / "files.py"
    bad.write_text("def f():\n    from edgedistill.cli import main\n")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "edgedistill")
    assert [floor(other) > floor("edgedistill.files") for other, _ in imports(bad)] == [True]


CODE = """
import json, sys
sys.argv = ["edgedistill", *json.loads(sys.argv[1])]
from edgedistill.cli import main
try:
    main()
finally:
    with open({out!r}, "w") as file:
        json.dump(sorted(sys.modules), file)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["build", "--help"], ["arms", "--help"], ["targets"], ["recipes"], ["recipes", "check"],
     ["targets", "check"],
     ["predict", "--target", "rpi5", "--params", "1.1e9", "--bytes", "6.4e8", "--quant", "Q4_0"],
     ["plan", "--target", "rpi5"]],
    ids=" ".join,
)  # fmt: skip
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    out = tmp_path / "modules.json"
    code = CODE.format(out=str(out))
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(out.read_text()))
    assert "edgedistill.cli" in loaded
    assert not loaded & {*HEAVY, "rich", "jinja2", "psutil"}


def test_help_imports_click_and_nothing_more(tmp_path):
    out = tmp_path / "modules.json"
    subprocess.run([sys.executable, "-c", CODE.format(out=str(out)), '["--help"]'], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(out.read_text())}
    assert "click" in loaded
    assert not loaded & {"pydantic", "yaml", "rich", "jinja2", "psutil"}


# Beside the package: the converter in llama.cpp's source, and two that come with the libraries they serve.
COMES_ALONG = {"conversion": "llama-cpp-python", "pydantic_core": "pydantic", "tokenizers": "transformers"}
COMES_ALONG |= {"lm_eval": "lm-eval"}  # an extra, which need not be installed
COMES_ALONG |= dict.fromkeys(("builder", "builders"), "onnxruntime-genai") | {"google": "onnx"}
APART = ("optimum_export.py",)
"""Run in an environment of their own, by their path."""


def test_every_library_that_is_imported_is_a_dependency():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["lm-eval"]]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in lines}
    providers = packages_distributions()
    tops = {module.split(".")[0] for path in MODULES if path.name not in APART for module, _ in imports(path)}
    for top in tops - sys.stdlib_module_names - {"edgedistill"}:
        found = [COMES_ALONG[top]] if top in COMES_ALONG else providers.get(top, ())
        assert {name.lower().replace("_", "-") for name in found} & declared, (
            f"{top}: in none of the dependencies of pyproject.toml"
        )
