"""llama.cpp's own command-line tools, built from the pinned source to be compared with.

    python tests/bench/llama_tools.py                   llama-imatrix and llama-quantize, once; about 4 minutes
    python tests/bench/llama_tools.py llama-imatrix     this one only

They are linked with the libraries of the installed binding, so that both sides run the same kernels, and lie in the
user's cache folder beside the converter. The tests that compare with them skip where they are not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from edgedistill.toolchain import llama_cpp

TOOLS = {"llama-imatrix": "tools/imatrix", "llama-quantize": "tools/quantize"}
_SOURCES = ("common/", "include/", "ggml/include/", "vendor/", "src/llama-ext.h", "tools/imatrix/", "tools/quantize/")
_HEADERS = ("common", "include", "ggml/include", "vendor", "vendor/nlohmann", "vendor/sheredom", "src")
_SHARED = ("common/*.cpp", "common/jinja/*.cpp", "common/parsers/*.cpp", "vendor/cpp-httplib/httplib.cpp")


def find(name: str) -> Path | None:
    """The tool, or None where this script has not been run."""
    path = _folder() / name
    return path if path.is_file() else None


def environment() -> dict[str, str]:
    """One thread per tool, so that others on the machine are not in the way of a comparison."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GGML_NO_BACKTRACE": "1"}


def _folder() -> Path:
    found = llama_cpp.sources_folder()
    return found.with_name(f"{found.name}-tools")


def build(names: list[str]) -> None:
    missing = [name for name in names if find(name) is None]
    if not missing:
        return
    llama_cpp.check_binding()
    _folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
        source = _unpacked(llama_cpp.fetch(Path(scratch)), Path(scratch))
        shared = [path for pattern in _SHARED for path in sorted(source.glob(pattern))]
        objects = [_compiled(path, source, "-O1") for path in [*shared, _build_info(source)]]
        for name in missing:
            own = [_compiled(path, source, "-O3") for path in sorted((source / TOOLS[name]).glob("*.cpp"))]
            _linked([*own, *objects], Path(scratch) / name, source).replace(_folder() / name)


def _unpacked(archive: Path, scratch: Path) -> Path:
    prefix = f"{archive.name.removesuffix('.tar.gz')}/vendor/llama.cpp/"
    with tarfile.open(archive, "r:gz") as tar:
        kept = [m for m in tar if m.isfile() and m.name.removeprefix(prefix).startswith(_SOURCES)]
        tar.extractall(scratch, members=kept, filter="data")
    return scratch / prefix


def _build_info(source: Path) -> Path:
    """What CMake would have made from common/build-info.cpp.in."""
    template = (source / "common/build-info.cpp.in").read_text()
    for name in ("LLAMA_BUILD_NUMBER", "LLAMA_BUILD_COMMIT", "BUILD_COMPILER", "BUILD_TARGET"):
        template = template.replace(f"@{name}@", "0")
    path = source / "common/made-build-info.cpp"
    path.write_text(template)
    return path


def _compiled(path: Path, source: Path, level: str) -> Path:
    made = path.with_suffix(".o")
    print(f"  {path.relative_to(source)}", flush=True)
    headers = [f"-I{source / folder}" for folder in _HEADERS]
    _run(["c++", "-std=c++17", level, "-DNDEBUG", "-w", *headers, "-c", str(path), "-o", str(made)])
    return made


def _linked(objects: list[Path], made: Path, source: Path) -> Path:
    spec = find_spec("llama_cpp")
    assert spec and spec.origin
    libraries = Path(spec.origin).parent / "lib"
    flags = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lllama", "-lggml", "-lggml-cpu", "-lggml-base", "-lpthread"]
    _run(["c++", *map(str, objects), *flags, "-o", str(made)])
    return made


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    build(sys.argv[1:] or list(TOOLS))
    for tool in TOOLS:
        print(f"{tool}: {find(tool) or 'not built'}")
