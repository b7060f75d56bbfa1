"""Which checkpoint a rerun goes on from."""

from __future__ import annotations

from pathlib import Path

from edgedistill.ml import checkpoints


def written(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    return checkpoint


def test_one_that_was_not_finished_is_ignored(tmp_path: Path) -> None:
    checkpoints.mark(written(tmp_path, 9))
    written(tmp_path, 10)
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-9"


def test_the_newest_is_so_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (100, 20):
        (written(tmp_path, step) / "whole").touch()
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-100"


def test_a_whole_one_replaces_those_before_it(tmp_path: Path) -> None:
    checkpoints.mark(written(tmp_path, 2))
    checkpoints.mark(written(tmp_path, 4))
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint-4"]


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "never made") is None


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    checkpoints.mark(written(tmp_path / "checkpoints", 2))
    checkpoints.discard(tmp_path / "checkpoints")
    assert list(tmp_path.iterdir()) == []
