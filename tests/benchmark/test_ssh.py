"""A benchmark over a real ssh connection to this machine, and one that is cut in the middle of its requests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedistill import target as targets
from edgedistill import transport
from edgedistill.benchmark import journal, llama
from edgedistill.benchmark.load import Extent
from edgedistill.benchmark.run import benchmark
from edgedistill.devices.faults import Lost
from edgedistill.files import read_rows
from edgedistill.toolchain import runtime

EXTENT = Extent("for a test", warm_up=1, requests=6, seconds=60.0, least=2, load_s=0.0)


def _sshd() -> Any:
    """The server of the transports' tests."""
    place = Path(__file__).parents[1] / "transports" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tests_transports_conftest", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


own_server = _sshd().own_server


@pytest.fixture
def board(own_server, monkeypatch) -> Iterator[Any]:
    """This machine over ssh, with a folder of the test's own. At the end nothing of ours is on it."""
    if not runtime.installed(targets.load("host")):
        pytest.skip("needs llama-server for this machine: `edgedistill toolchain install --target host`")
    opened = transport.open_device

    def with_folder(address: str, **options: Any) -> transport.Device:
        return opened(address, **options, folder=own_server.base)

    monkeypatch.setattr(transport, "open_device", with_folder)
    yield own_server
    own_server.wait_until_left()
    assert not Path(own_server.base).exists()


def test_a_bundle_is_measured_over_ssh_and_nothing_stays_there(board, gguf_bundle):
    found = benchmark(gguf_bundle, board.address, EXTENT, anyway=True)
    assert found.latency["evidence"] == "measured" and found.parity["passed"]
    assert found.latency["conditions"]["where"] == board.address and found.latency["conditions"]["runs"] == 6
    assert found.memory_mib is not None and found.memory_mib["peak"] > 1
    assert board.way.sent > (gguf_bundle / "model.gguf").stat().st_size


def test_a_cut_connection_keeps_what_was_measured_and_sent(board, gguf_bundle, monkeypatch):
    path, asking = journal.going(journal.place(gguf_bundle, board.address)), llama.LlamaServer.ask

    def cut(self: llama.LlamaServer, ids: Any, new_tokens: int) -> Any:
        if sum(row["kind"] == "request" for row in read_rows(path)) == 3:
            board.cut()
        return asking(self, ids, new_tokens)

    with monkeypatch.context() as patch:
        patch.setattr(llama.LlamaServer, "ask", cut)
        with pytest.raises(Lost, match="was cut") as found:
            benchmark(gguf_bundle, board.address, EXTENT, anyway=True)
    assert found.value.exit_code == 3 and f"kept in {path}: 3 requests and 8 golden cases;" in found.value.hint
    board.wait_until_left()
    board.way.sent = 0
    again = benchmark(gguf_bundle, board.address, EXTENT, anyway=True)
    assert again.latency["conditions"]["resumed_requests"] == 3 and again.latency["conditions"]["runs"] == 6
    assert board.way.sent < 2**20, "what the device has is not sent again"
