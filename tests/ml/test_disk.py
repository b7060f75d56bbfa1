"""A full disk is told apart from other failures of the tensor libraries."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_write_that_safetensors_could_not_finish_is_a_full_disk(tmp_path: Path) -> None:
    """The text is what safetensors 0.8 said when it wrote to a file system of 64 KiB."""
    from safetensors import SafetensorError

    from edgedistill.ml.disk import full_disk_is_an_os_error

    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(OSError, match="no space left") as raised, full_disk_is_an_os_error(tmp_path):
        raise SafetensorError(said)
    assert raised.value.errno == errno.ENOSPC


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    from edgedistill.ml.disk import full_disk_is_an_os_error

    with pytest.raises(RuntimeError, match="shapes"), full_disk_is_an_os_error(tmp_path):
        raise RuntimeError("shapes do not match")
