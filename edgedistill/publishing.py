"""Where a bundle ships from, `dist/<recipe>-<target>/`: put there, and changed there, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgedistill.bundle_manifest import MANIFEST, SIGNATURE, Manifest, file_of, open_bundle, read, write
from edgedistill.errors import UsageError
from edgedistill.files import write_text
from edgedistill.locks import held
from edgedistill.log import say


def place(source: Path, dist: Path) -> Path:
    """Where a bundle is published: `dist/<recipe>-<target>/`."""
    return dist / read(source).name


def publish(source: Path, dist: Path) -> Path:
    """Copy a bundle to its place in `dist`: written beside, checked, then swapped in. A failure leaves the older one.

    Raises  UsageError where a folder of that name is not a bundle of this tool: it is left alone
    """
    final = place(source, dist)
    with _beside(final) as beside:
        if final.exists() and not (final / MANIFEST).is_file():
            raise UsageError(f"{final} exists and is not a bundle", "move it away, or choose another --dist folder")
        shutil.copytree(source, beside, dirs_exist_ok=True)
        open_bundle(beside)
        _swap(beside, final, _old(final))
    return final


def rewrite(folder: Path, manifest: Manifest, texts: dict[str, str]) -> Manifest:
    """Other texts in a bundle that lies where it ships from, and the manifest that lists them: all of it, or nothing.

    It is written beside the bundle first, so that a full disk changes nothing, and then moved in. The folder itself
    stays what it is: somebody may stand in it.
    """
    with _beside(folder) as beside:
        for name, text in texts.items():
            write_text(beside / name, text)
        changed = {name: file_of(beside / name) for name in texts}
        updated = manifest.model_copy(update={"files": {**manifest.files, **changed}})
        write(beside, updated)
        _move_in(folder, beside, [*texts, MANIFEST])
    if (folder / SIGNATURE).is_file():
        say(f"note: {folder / SIGNATURE} is of the manifest as it was; sign it again")
    return updated


@contextmanager
def _beside(final: Path) -> Iterator[Path]:
    """An empty folder beside a bundle, on the same disk, for one process at a time; gone when the block ends. What a
    kill left of an earlier one is mended first.
    """
    beside, old = final.with_name(f".{final.name}.new"), _old(final)
    with held(final.with_name(f".{final.name}.lock"), str(final)):
        if old.exists() and not final.exists():
            old.rename(final)  # a kill between the two renames
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _old(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _swap(new: Path, final: Path, old: Path) -> None:
    """Put `new` in the place of `final`, by way of `old`."""
    try:
        if final.exists():
            final.rename(old)
        new.rename(final)
    except BaseException:
        if old.exists() and not final.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _move_in(folder: Path, beside: Path, names: Sequence[str]) -> None:
    """Files of `beside` in the place of those in `folder`; what ends it between two of them puts the old ones back."""
    before = beside / "before"
    before.mkdir()
    for name in names:
        shutil.copy2(folder / name, before / name)
    try:
        for name in names:
            (beside / name).replace(folder / name)
    except BaseException:
        for name in names:
            if (before / name).is_file():
                (before / name).replace(folder / name)
        raise
