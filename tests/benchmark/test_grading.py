"""Budgets by what was measured, and the bundle that tells it, for figures written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgedistill import bundle_manifest, publishing
from edgedistill.benchmark import grading
from edgedistill.bundle_manifest import open_bundle
from edgedistill.files import write_text


def verdicts(folder: Path) -> dict[str, tuple[float, str, str]]:
    return {b["name"]: (b["value"], b["verdict"], b["evidence"]) for b in bundle_manifest.read(folder).budgets}


def test_budgets_are_graded_by_what_was_measured(gguf_bundle, found):
    """Limits: first token 5000 ms, decode 1 tok/s, memory 4096 MiB."""
    grading.into_bundle(gguf_bundle, found())
    assert verdicts(gguf_bundle) == {
        "first_token_ms": (5100.0, "missed", "measured, p50 of 100, ssh://pi@board"),
        "decode_tok_s": (20.0, "met", "measured, p50 of 100, ssh://pi@board"),
        "memory_mib": (512.0, "met", "measured, peak of a fresh process, ssh://pi@board"),
    }


def test_an_emulators_speed_proves_nothing(gguf_bundle, found):
    manifest = grading.into_bundle(gguf_bundle, found("emulated", where="qemu://cortex-a76"))
    assert {verdict for _, verdict, _ in verdicts(gguf_bundle).values()} == {"unproven"}
    assert verdicts(gguf_bundle)["decode_tok_s"][2] == "emulated, p50 of 100, qemu://cortex-a76"
    assert manifest.benchmark is not None and manifest.elsewhere is None


def test_another_device_than_the_targets_proves_nothing(gguf_bundle, found):
    grading.into_bundle(gguf_bundle, found(other_device="4x Cortex-A55"))
    assert {verdict for _, verdict, _ in verdicts(gguf_bundle).values()} == {"unproven"}
    assert verdicts(gguf_bundle)["decode_tok_s"][2].endswith("ssh://pi@board, another device: 4x Cortex-A55")


def test_what_was_measured_stays_beside_what_was_emulated_later(gguf_bundle, found):
    """Its parity too: that of the emulated run is the emulated run's."""
    before = grading.into_bundle(gguf_bundle, found())
    after = grading.into_bundle(gguf_bundle, found("emulated", where="qemu://cortex-a76"))
    assert after.chosen == before.chosen and after.budgets == before.budgets and after.benchmark == before.benchmark
    assert before.benchmark is not None and before.benchmark["latency"] == before.chosen["latency"]
    assert after.elsewhere is not None and after.elsewhere["where"] == "qemu://cortex-a76"
    assert after.elsewhere["parity"]["passed"] and after.elsewhere["latency"]["decode_tok_s"]["p50"] == 20.0
    other = grading.into_bundle(gguf_bundle, found(other_device="4x Cortex-A55"))
    assert other.chosen == before.chosen and other.elsewhere is not None
    again = grading.into_bundle(gguf_bundle, found())
    assert again.elsewhere is None, "the device itself has the last word"


QUICK = "quick: fewer than 100 requests, no sustained phase"


def test_a_quick_run_does_not_replace_a_full_one(gguf_bundle, found, capsys):
    before = grading.into_bundle(gguf_bundle, found(extent=QUICK))
    assert before.benchmark is not None, "it is all there is"
    full = grading.into_bundle(gguf_bundle, found())
    assert full.benchmark is not None and full.elsewhere is None and not capsys.readouterr().err
    full.benchmark["when"] = "2026-11-21T10:15:00+00:00"
    bundle_manifest.write(gguf_bundle, full)
    after = grading.into_bundle(gguf_bundle, found(extent=QUICK))
    assert (after.benchmark, after.chosen, after.budgets) == (full.benchmark, full.chosen, full.budgets)
    assert after.elsewhere is not None and after.elsewhere["latency"]["conditions"]["extent"] == QUICK
    assert capsys.readouterr().err == (
        "  the figures stay, measured on ssh://pi@board on 2026-11-21: this run is quick, and is told beside them\n"
    )
    assert grading.into_bundle(gguf_bundle, found()).elsewhere is None


def test_a_quick_run_on_the_device_replaces_a_full_one_under_an_emulator(gguf_bundle, found):
    grading.into_bundle(gguf_bundle, found("emulated"))
    manifest = grading.into_bundle(gguf_bundle, found(extent=QUICK))
    assert manifest.benchmark is not None and manifest.benchmark["evidence"] == "measured"
    assert manifest.elsewhere is None


def test_a_limit_missed_on_a_noisy_device_is_unproven_and_a_throttled_one_is_marked(gguf_bundle, found):
    grading.into_bundle(gguf_bundle, found(noisy="others", throttled="firmware: throttled after 60 s of load"))
    value, verdict, evidence = verdicts(gguf_bundle)["first_token_ms"]
    assert (value, verdict) == (5100.0, "unproven")
    assert evidence == "measured, p50 of 100, ssh://pi@board, noisy machine, it throttled"


def test_the_bundle_still_holds_and_its_card_says_the_same(gguf_bundle, found):
    assert grading.into_bundle(gguf_bundle, found()) == open_bundle(gguf_bundle)  # every file against its hash
    manifest = bundle_manifest.read(gguf_bundle)
    assert manifest.chosen["latency"]["conditions"]["runs"] == 100
    assert manifest.chosen["latency"]["answer_ms"] == 5370.0  # 5100 + 5.4 tokens of 50 ms; the bundle's 6.4 are usual
    card = (gguf_bundle / "MODEL_CARD.md").read_text()
    assert "| decode_tok_s | 1.0 | 20.0 | tok/s | met | measured, p50 of 100, ssh://pi@board |\n" in card
    assert card.startswith("# tiny\n") and card.endswith("\nEnd.\n") and "unproven" not in card


@pytest.fixture
def rebuilt(gguf_bundle, tmp_path) -> Path:
    """The bundle as the store has it: nobody measured it there."""
    return Path(shutil.copytree(gguf_bundle, tmp_path / "store" / "bundle"))


def test_what_was_measured_stays_with_its_model_when_it_is_built_again(gguf_bundle, rebuilt, found):
    grading.into_bundle(gguf_bundle, found())
    grading.into_bundle(gguf_bundle, found("emulated", where="qemu://cortex-a76"))
    before, told = bundle_manifest.read(gguf_bundle), verdicts(gguf_bundle)
    shipped = publishing.publish(rebuilt, gguf_bundle.parent)
    assert open_bundle(shipped).benchmark is None
    after = grading.carry_over(shipped, before)
    assert after == open_bundle(shipped) and after is not None
    assert (after.benchmark, after.elsewhere, after.chosen["latency"]) == (
        before.benchmark,
        before.elsewhere,
        before.chosen["latency"],
    )
    assert verdicts(shipped) == told
    assert "| decode_tok_s | 1.0 | 20.0 | tok/s | met |" in (shipped / "MODEL_CARD.md").read_text()


def test_limits_that_changed_are_graded_by_the_figures_that_stay(gguf_bundle, rebuilt, found):
    before = grading.into_bundle(gguf_bundle, found())
    manifest = bundle_manifest.read(rebuilt)
    budgets = tuple({**budget, "limit": 25.0} for budget in manifest.budgets if budget["name"] == "decode_tok_s")
    bundle_manifest.write(rebuilt, manifest.model_copy(update={"budgets": budgets}))
    grading.carry_over(rebuilt, before)
    assert verdicts(rebuilt) == {"decode_tok_s": (20.0, "missed", "measured, p50 of 100, ssh://pi@board")}


def test_another_model_keeps_nothing(gguf_bundle, rebuilt, found):
    before = grading.into_bundle(gguf_bundle, found())
    other = before.model_copy(update={"chosen": {**before.chosen, "sha256": "f" * 64}})
    unchanged = bundle_manifest.read(rebuilt)
    for earlier in (None, other, unchanged):
        assert grading.carry_over(rebuilt, earlier) is None
    assert bundle_manifest.read(rebuilt) == unchanged


def test_only_a_bundle_that_can_be_read_counts_as_published(gguf_bundle, tmp_path):
    assert grading.published(tmp_path / "nothing") is None
    assert grading.published(gguf_bundle) == bundle_manifest.read(gguf_bundle)
    write_text(gguf_bundle / "manifest.json", "{}")
    assert grading.published(gguf_bundle) is None
