from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("arm64_userland", Path(__file__).with_name("userland.py"))


@pytest.fixture(scope="session")
def userland() -> Any:
    """userland.py, or a skip that says what it needs."""
    assert _SPEC and _SPEC.loader
    module = importlib.util.module_from_spec(_SPEC)
    sys.modules[_SPEC.name] = module  # its dataclass looks itself up there
    _SPEC.loader.exec_module(module)
    if against := module.reason_against():
        pytest.skip(against)
    return module


@pytest.fixture(scope="session")
def arm64(userland: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real arm64 Debian with its own sshd: `address`, `config` (for `ssh -F`), `keys`, `root`. The first time it is
    made, which takes minutes; a test that may be first says `@pytest.mark.timeout(3600)`."""
    try:
        userland.prepare()
    except OSError as error:
        pytest.skip(f"no arm64 Debian can be made here: {error}")
    with userland.running(tmp_path_factory.mktemp("arm64")) as device:
        yield device


@pytest.fixture
def board(arm64: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same, and `ssh` goes there: its `address` is one for `--device`."""
    monkeypatch.setenv("PATH", f"{arm64.keys}/bin:{os.environ['PATH']}")
    return arm64
