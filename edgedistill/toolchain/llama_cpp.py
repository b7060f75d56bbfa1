"""llama.cpp's converter and sources, at the one source that the installed binding was built from.

The converter is not on the package index, but the source distribution of llama-cpp-python holds the whole llama.cpp
tree. It is fetched with the user's own pip, so mirrors, proxies and certificates are those of pip's settings; it is
verified by hash before anything in it is used; and only what is needed is kept:

    ~/.cache/edgedistill/llama.cpp-0.3.36-832db069/           the converter, which builds need
    ~/.cache/edgedistill/llama.cpp-0.3.36-832db069-sources/   what programs for a device are compiled from

A folder is whole when `complete` is there, which is written last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from edgedistill.errors import EdgeDistillError, IntegrityError, UsageError
from edgedistill.files import sha256_of, write_text
from edgedistill.locks import held
from edgedistill.log import say

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
"""Of llama_cpp_python-0.3.36.tar.gz. With a new pin, raise VERSION in exporters/gguf.py: the files may change."""

_PREFIX = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
_CONVERTER = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/", "src/llama-vocab.cpp", "LICENSE")
_SOURCES = (
    *("CMakeLists.txt", "LICENSE", "cmake/", "common/", "ggml/", "include/", "licenses/", "scripts/ui-assets.cmake"),
    *("src/", "tools/", "vendor/"),
)
_MOST_BYTES = 100_000_000
"""Of the kept files together; the sources are 53 MB."""
_FETCH_LIMIT_S = 1800

_BACKEND = f"""\
# pip asks a source package for its metadata even when it is only to be fetched. This answers in place of the package's
# own build system, so that fetching needs no build tools and runs no code that has not been verified yet.
from pathlib import Path


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory) / "llama_cpp_python-{VERSION}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: {PACKAGE}\\nVersion: {VERSION}\\n")
    return folder.name
"""


def llama_cpp_sources() -> Path:
    """The folder with `convert_hf_to_gguf.py` and `conversion/`; fetched on first use (76 MB), then from the cache.

    Raises  UsageError when the binding is missing or of another version, IntegrityError when the fetched archive is
            not the pinned one, EdgeDistillError when pip cannot fetch it
    """
    check_binding()
    return _kept(sources_folder(), "converter", _CONVERTER)


def compiled_sources() -> Path:
    """The folder with llama.cpp's `CMakeLists.txt`, for programs that run on a device; fetched as the converter is.

    Raises  as llama_cpp_sources(), without a look at the binding
    """
    folder = sources_folder()
    return _kept(folder.with_name(f"{folder.name}-sources"), "sources", _SOURCES)


def _kept(folder: Path, what: str, kept: tuple[str, ...]) -> Path:
    if is_complete(folder):
        return folder
    with held(folder.with_name(f"{folder.name}.lock"), f"llama.cpp's {what}"):
        if not is_complete(folder):
            _install(folder, what, kept)
    return folder


def check_binding() -> None:
    """Converter, quantizer and runtime must be one source: refuse any other version of the binding."""
    wanted = f"python -m pip install {PACKAGE}=={VERSION}"
    try:
        installed = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise UsageError(f"{PACKAGE} is not installed; {VERSION} is needed", f"`{wanted}`") from None
    if installed.partition("+")[0] != VERSION:  # a build may carry a label: 0.3.36+cu130
        raise UsageError(
            f"{PACKAGE} {installed} is installed, but the converter that this tool uses belongs to {VERSION}",
            f"`{wanted}`, so that files are written and read by the same llama.cpp",
        )


def cache_folder() -> Path:
    """Where things are kept that every project of this user can share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgedistill"


def sources_folder() -> Path:
    """Where the converter lies once it is fetched."""
    return cache_folder() / f"llama.cpp-{VERSION}-{SHA256[:8]}"


def is_complete(folder: Path) -> bool:
    return (folder / "complete").is_file()


def _install(folder: Path, what: str, kept: tuple[str, ...]) -> None:
    say(f"fetching llama.cpp's {what} ({PACKAGE} {VERSION}, source, 76 MB) into {folder}")
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as scratch:
        archive = fetch(Path(scratch))
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed before it was complete
        extract(archive, folder, kept)
    write_text(folder / "complete", f"{SHA256}\n")


def fetch(scratch: Path) -> Path:
    """The whole source archive, fetched into an empty folder and verified."""
    archive = _fetch(scratch)
    check_hash(archive)
    return archive


def check_hash(archive: Path) -> None:
    found = sha256_of(archive)
    if found != SHA256:
        raise IntegrityError(
            f"{archive.name} has sha256 {found}, expected {SHA256}",
            "the package index served another file than the pinned one; nothing of it was used",
        )


def _fetch(scratch: Path) -> Path:
    """The archive, fetched by pip with the settings of the user."""
    backend = scratch / "backend" / "scikit_build_core"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build.py").write_text(_BACKEND)
    options = ["--no-deps", "--no-build-isolation", "--no-binary", PACKAGE, "--dest", str(scratch / "archive")]
    command = [sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={VERSION}"]
    # Without build isolation pip imports the package's build system from here, and finds the stand-in.
    environment = {**os.environ, "PYTHONPATH": str(backend.parent), "TMPDIR": str(scratch)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_FETCH_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise EdgeDistillError(f"pip did not fetch {PACKAGE} {VERSION} within {_FETCH_LIMIT_S} s") from None
    archives = sorted((scratch / "archive").glob("*.tar.gz"))
    if done.returncode or not archives:
        said = "\n".join(f"  {line}" for line in (done.stderr or done.stdout).strip().splitlines()[-5:])
        raise EdgeDistillError(
            f"pip could not fetch the source of {PACKAGE} {VERSION}\n{said}",
            f"check the network and `python -m pip config list`; the command was `{' '.join(command[1:])}`",
        )
    return archives[0]


def extract(archive: Path, folder: Path, kept: tuple[str, ...] = _CONVERTER) -> None:
    """Only the files whose names begin with one of `kept`, only regular ones, only below `folder`, and no more bytes
    than they can have."""
    total = 0
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name.removeprefix(_PREFIX)
            if not member.name.startswith(_PREFIX) or not name.startswith(kept) or not member.isfile():
                continue
            target = (folder / name).resolve()
            total += member.size
            if not target.is_relative_to(folder.resolve()) or total > _MOST_BYTES:
                raise IntegrityError(f"{archive.name} holds {member.name} ({member.size} bytes): not safe to unpack")
            source = tar.extractfile(member)
            assert source is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    if not (folder / kept[0]).is_file():
        raise IntegrityError(f"{archive.name} holds no llama.cpp with {kept[0]}")
