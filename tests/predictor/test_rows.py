"""What a line of a published table says, and what it leaves open."""

from __future__ import annotations

import pytest

from edgedistill.predictor import rows

LINE = {
    "id": "r1",
    "device": "rpi5",
    "cpu_cores_used(threads)": "4",
    "backend": "cpu",
    "runtime": "llama.cpp",
    "runtime_version_or_date": "b9307, 2026-05-27",
    "model": "Llama 3.1 8B IT",
    "params_b": "8.03",
    "quant": "Q8_0",
    "file_size_gib": "7.95",
    "n_prompt": "512",
    "n_gen": "128",
    "ram_gb": "16",
    "source_note": "",
}


def read(**changes: str) -> rows.Row:
    return rows.read({**LINE, **changes})


def test_an_untied_embedding_is_in_the_file_and_not_read():
    """128256 x 4096 weights of 8.5 bits are 558 MB of the 8,536 MB."""
    work = read().work
    assert work is not None
    assert work.read_bytes == pytest.approx(7.95 * 2**30 - 128256 * 4096 * 8.5 / 8, rel=0.001)
    assert work.read_weights == pytest.approx(8.03e9 - 128256 * 4096)
    assert work.body_weights == pytest.approx(8.03e9 - 2 * 128256 * 4096)
    assert (work.threads, work.prompt_tokens, work.context) == (4, 512, 64)
    assert work.built == pytest.approx(2026 + 4 / 12)


def test_a_tied_model_reads_its_whole_file():
    work = read(model="Llama-3.2-1B", params_b="1.2358", file_size_gib="1.2231").work
    assert work is not None and work.read_bytes == pytest.approx(1.2231 * 2**30)


def test_a_tied_model_stored_with_its_embedding_twice_reads_it_once():
    """Qwen3-0.6B has 596 M weights; a file with 752 M holds the 151936 x 1024 of the embedding a second time."""
    work = read(model="Qwen3-0.6B", params_b="0.7516", file_size_gib="0.7439").work
    assert work is not None and work.read_weights == pytest.approx(751.6e6 - 151936 * 1024)


def test_a_mixture_of_experts_counts_its_active_weights():
    row = read(model="LFM2-8B-A1B", params_b="8.34", file_size_gib="8.0", source_note="MoE")
    assert row.work is not None and not row.is_dense
    assert row.work.read_bytes == pytest.approx(8 * 2**30 * 1.5 / 8.34)


def test_a_size_that_is_not_given_comes_from_parameters_and_quantization():
    row = read(file_size_gib="", model="a stranger", params_b="1")
    assert row.file_bytes == pytest.approx(8.5e9 / 8) and not row.work.is_size_known


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"quant": "?"}, "unknown quantization '?'"), ({"params_b": "", "file_size_gib": ""}, "neither parameters nor")],
)
def test_a_line_that_says_too_little_is_declined(changes, reason):
    row = read(**changes)
    assert row.work is None and reason in row.reason


def test_notes_that_change_what_was_run():
    assert read(source_note="repack off").work.is_rearranged is False
    assert read(source_note="decode after 4096 tokens in the KV cache").work.context == 4096
    assert read(source_note="decode with 2 threads, prefill with 16 threads").work.prompt_threads == 16
