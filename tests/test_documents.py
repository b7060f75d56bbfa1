"""What people read: no document ships with a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [REPO / "README.md", REPO / "CHANGELOG.md", *REPO.glob("targets/**/*.md"), *REPO.glob("recipes/**/*.md")]
)
GAPS = ("TODO", "@@")


def test_the_sweep_sees_the_documents():
    """A sweep over nothing would pass."""
    names = {str(path.relative_to(REPO)) for path in DOCUMENTS}
    assert names >= {"README.md", "CHANGELOG.md", "targets/README.md", "recipes/quickstart/README.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_is_left_to_fill_in(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"line {number}: {line}" for number, line in enumerate(lines, 1) if any(gap in line for gap in GAPS)]
    assert not found
