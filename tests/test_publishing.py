"""A bundle that is changed where it ships from: all of it, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill import bundle_manifest, publishing
from edgedistill.bundle_manifest import SCHEMA, Device, Lineage, Manifest, Origin, open_bundle
from edgedistill.files import write_text


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "dist" / "r-board"
    for name in ("model.gguf", "MODEL_CARD.md"):
        write_text(place / name, f"what {name} holds")
    lineage = Lineage(recipe="r", student=Origin(name="s", sha256="0" * 64, licence="mit"), tuned="t", data=())
    made = Manifest(
        schema_=SCHEMA,
        recipe="r",
        target=Device(name="board", title="Board", soc="", triple="native", cpu="native", threads=1),
        model="model.gguf",
        chosen={},
        student={},
        budgets=(),
        conditions={},
        lineage=lineage,
        versions={},
        files=bundle_manifest.listed(place),
    )
    bundle_manifest.write(place, made)
    return place


def rewritten(folder: Path) -> Manifest:
    manifest = open_bundle(folder).model_copy(update={"conditions": {"context": 512}})
    return publishing.rewrite(folder, manifest, {"MODEL_CARD.md": "another card"})


def test_card_and_manifest_change_together(folder):
    assert rewritten(folder) == open_bundle(folder)
    assert open_bundle(folder).conditions == {"context": 512}
    assert (folder / "MODEL_CARD.md").read_text() == "another card"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".r-board.lock", "r-board"]


def test_the_folder_stays_the_one_that_somebody_stands_in(folder):
    before = folder.stat().st_ino
    rewritten(folder)
    assert folder.stat().st_ino == before


@pytest.mark.parametrize("fails", ["MODEL_CARD.md", "manifest.json"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=["full disk", "ctrl-c"])
def test_a_change_that_is_cut_leaves_the_bundle_as_it_was(folder, monkeypatch, fails, error):
    """Cut where a file is moved in; the first of the two is in its new place by then."""
    before = open_bundle(folder)
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.name == fails and self.parent.name.endswith(".new"):
            raise error
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(Path, "replace", failing)
        rewritten(folder)
    assert open_bundle(folder) == before
    assert (folder / "MODEL_CARD.md").read_text() == "what MODEL_CARD.md holds"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".r-board.lock", "r-board"]


def test_a_disk_that_is_full_before_anything_is_moved_changes_nothing(folder, monkeypatch):
    def full(*_: object) -> Path:
        raise OSError("no space left")

    before = open_bundle(folder)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(publishing, "write", full)
        rewritten(folder)
    assert open_bundle(folder) == before


def test_a_signature_is_said_to_be_stale(folder, capsys):
    (folder / "manifest.sig").write_text("signed")
    rewritten(folder)
    assert "sign it again" in capsys.readouterr().err
    assert open_bundle(folder).conditions == {"context": 512}
