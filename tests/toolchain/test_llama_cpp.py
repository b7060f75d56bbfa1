from __future__ import annotations

import io
import multiprocessing
import tarfile
from pathlib import Path

import pytest

from edgedistill.errors import EdgeDistillError, IntegrityError, UsageError
from edgedistill.files import sha256_of
from edgedistill.toolchain import llama_cpp

PREFIX = "llama_cpp_python-0.3.36/vendor/llama.cpp/"


def archive(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return path


CONVERTER = {
    f"{PREFIX}convert_hf_to_gguf.py": b"# converter",
    f"{PREFIX}conversion/base.py": b"# base",
    f"{PREFIX}gguf-py/gguf/__init__.py": b"# gguf",
    f"{PREFIX}ggml/src/ggml.c": b"// not needed",
    "llama_cpp_python-0.3.36/setup.py": b"raise SystemExit('never run')",
}


def test_only_the_converter_is_unpacked(tmp_path):
    llama_cpp.extract(archive(tmp_path / "a.tar.gz", CONVERTER), tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/__init__.py"}


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path):
    evil = {**CONVERTER, f"{PREFIX}conversion/../../../evil.py": b"evil"}
    with pytest.raises(IntegrityError, match="not safe to unpack"):
        llama_cpp.extract(archive(tmp_path / "a.tar.gz", evil), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.py"))


def test_links_are_not_unpacked(tmp_path):
    path = archive(tmp_path / "a.tar.gz", CONVERTER, {f"{PREFIX}conversion/link.py": "/etc/passwd"})
    llama_cpp.extract(path, tmp_path / "out")
    assert not (tmp_path / "out" / "conversion" / "link.py").is_symlink()


def test_more_bytes_than_the_converter_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(llama_cpp, "_MOST_BYTES", 10)
    with pytest.raises(IntegrityError, match="not safe to unpack"):
        llama_cpp.extract(archive(tmp_path / "a.tar.gz", CONVERTER), tmp_path / "out")


def test_an_archive_without_the_converter_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match=r"holds no llama\.cpp with convert_hf_to_gguf\.py"):
        llama_cpp.extract(archive(tmp_path / "a.tar.gz", {"x": b""}), tmp_path / "out")


def test_another_hash_is_refused_and_both_are_named(tmp_path):
    path = tmp_path / "llama_cpp_python-0.3.36.tar.gz"
    path.write_bytes(b"another file")
    with pytest.raises(IntegrityError) as refused:
        llama_cpp.check_hash(path)
    assert sha256_of(path) in refused.value.problem
    assert llama_cpp.SHA256 in refused.value.problem


def test_another_version_of_the_binding_is_refused_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr(llama_cpp.metadata, "version", lambda name: "0.3.35")
    with pytest.raises(UsageError) as refused:
        llama_cpp.llama_cpp_sources()
    assert "0.3.35" in refused.value.problem and "0.3.36" in refused.value.problem
    assert "pip install llama-cpp-python==0.3.36" in refused.value.hint


def test_without_a_network_the_error_says_what_pip_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(EdgeDistillError) as refused:
        llama_cpp.llama_cpp_sources()
    assert "No matching distribution" in refused.value.problem
    assert "pip download" in refused.value.hint
    assert not [path for path in tmp_path.rglob("*") if path.suffix != ".lock" and path.is_file()]


def _install_and_count(cache: str, made: str, fetches: str) -> None:
    """In a process of its own. Stands in for the index alone: locking, checking and unpacking are the real ones."""
    import os

    def fetch(scratch: Path) -> Path:
        with open(fetches, "a") as file:
            file.write("fetched\n")
        return Path(made)

    os.environ["XDG_CACHE_HOME"] = cache
    llama_cpp._fetch = fetch
    llama_cpp.SHA256 = sha256_of(Path(made))
    assert llama_cpp.is_complete(llama_cpp.llama_cpp_sources())


def test_two_processes_at_once_fetch_once(tmp_path):
    made = archive(tmp_path / "a.tar.gz", CONVERTER)
    context = multiprocessing.get_context("fork")
    given = (str(tmp_path / "cache"), str(made), str(tmp_path / "fetches"))
    processes = [context.Process(target=_install_and_count, args=given) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "fetches").read_text() == "fetched\n"


def test_a_folder_without_the_marker_is_made_again(tmp_path, monkeypatch):
    made = archive(tmp_path / "a.tar.gz", CONVERTER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(llama_cpp, "SHA256", sha256_of(made))
    monkeypatch.setattr(llama_cpp, "_fetch", lambda scratch: made)
    folder = llama_cpp.llama_cpp_sources()
    (folder / "complete").unlink()
    (folder / "conversion" / "base.py").write_text("half wri")
    assert llama_cpp.llama_cpp_sources() == folder
    assert (folder / "conversion" / "base.py").read_bytes() == b"# base"
