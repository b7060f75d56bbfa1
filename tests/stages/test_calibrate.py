"""Importance and sensitivity of a tiny student, and the files that are made with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgedistill import gguf_file, imatrix_file, mix, perplexity, quantized
from edgedistill.artifacts import Calibration, Tailored
from edgedistill.errors import IntegrityError, StageFailed, UsageError
from edgedistill.exporters import gguf
from edgedistill.files import read_rows, write_rows
from edgedistill.models import Model
from edgedistill.quantization import bits_per_weight, is_quantized
from edgedistill.quants import QuantEntry
from edgedistill.sections import CalibrateConfig, TextConfig
from edgedistill.stages.calibrate import calibrate

CONFIG = CalibrateConfig(rows=6, sensitivity_rows=3, held_out=2, max_tokens=256)


class Info:
    description = "Say which device is meant."


class Task:
    """What the stage may read of a task; its items raise."""

    name, info = "home", Info()

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the stage read `{name}` of a task")


@pytest.fixture(scope="module")
def tailored(tmp_path_factory) -> Tailored:
    folder = tmp_path_factory.mktemp("tailored")
    rows = [
        dict(id=f"home/{n}", task="home", question=f"turn light {n} on", answer="light", rationale=f"<ans>{n}</ans>")
        for n in range(24)
    ]
    write_rows(folder / "rows.jsonl", rows)
    return Tailored(folder, "tailored")


def run(
    out: Path, model: Path, source: object, measures: bool = False, config: CalibrateConfig = CONFIG
) -> Calibration:
    out.mkdir(parents=True, exist_ok=True)
    return calibrate.function(out, Model(model, "key"), source, [Task()], config, measures, 0)


@pytest.fixture(scope="module")
def calibration(tiny_llama, tailored, tmp_path_factory) -> Calibration:
    return run(tmp_path_factory.mktemp("calibration"), tiny_llama, tailored, measures=True)


def test_rows_of_each_use_are_others_and_no_item_of_a_task_is_read(calibration, tailored):
    parts = {
        name: [tuple(ids) for ids, _ in calibration.part(name)] for name in ("importance", "sensitivity", "held_out")
    }
    assert [len(rows) for rows in parts.values()] == [6, 3, 2]
    assert len({row for rows in parts.values() for row in rows}) == 11
    tokens = sum(map(len, parts["importance"]))
    assert {int(entry.counts[0]) for entry in imatrix_file.read(calibration.imatrix).values()} == {tokens}
    assert calibration.counts()["tokens"] == tokens


def test_rows_are_in_the_students_template_and_say_where_the_answer_begins(calibration, tiny_llama):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    ids, begin = next(calibration.part("held_out"))
    assert tokenizer.decode(ids[:begin]).startswith("<|im_start|>user\nSay which device is meant.")
    assert tokenizer.decode(ids[begin:]).startswith("<ans>")


def test_killed_between_two_tensors_it_goes_on_and_leaves_the_same_bytes(calibration, tiny_llama, tailored, tmp_path):
    """The first run's shards but two are there, as a kill leaves them."""
    partial = tmp_path / "partial"
    shutil.copytree(calibration.path / "shards", partial / "shards")
    for number in (3, 7):
        (partial / "shards" / f"{number:04}.jsonl").unlink()
    again = run(partial, tiny_llama, tailored, measures=True)
    for name in ("rows.jsonl", "imatrix.gguf", "sensitivity.jsonl", "counts.json"):
        assert (again.path / name).read_bytes() == (calibration.path / name).read_bytes(), name


def test_every_matrix_is_measured_and_left_as_it_was(calibration, tiny_llama):
    """The last one would be measured beside all others rounded, were they not put back: each alone is small."""
    measured = calibration.sensitivity()
    assert len({line["tensor"] for line in measured}) == len(measured) == 2 * 7 + 2
    for line in measured:
        assert line["measured"] == "Q3_K" and line["kl"] >= 0
        assert list(line["errors"]) == list(mix.ladder(line["dimensions"][1]))
        assert line["errors"]["Q4_K"] < line["errors"]["Q3_K"] < line["errors"]["Q2_K"]
    assert sum(line["kl"] for line in measured) > 0


def export(out: Path, model: Path, calibration: Calibration | None, *quants: object) -> dict[str, Path]:
    out.mkdir(exist_ok=True)
    config = gguf.Config.model_validate({"quants": quants})
    made = gguf.export(out, Model(model, "key"), config, calibration=calibration)
    return {candidate.quant: out / candidate.file for candidate in made}


def test_a_mix_keeps_its_size_has_the_types_that_were_chosen_and_is_compared_with_a_uniform_one(
    calibration, tiny_llama, tmp_path
):
    """And low types are made with the importance matrix, whose origin stands in the file."""
    quants = (
        {"bits": 4.5},
        {"fit": "800KiB"},
        {"bits": 5, "head": "Q8_0"},
        "IQ2_XS",
        {"quant": "Q4_0", "imatrix": False},
    )
    files = export(tmp_path / "out", tiny_llama, calibration, "F16", *quants, "Q4_0")
    mixes = {line["name"]: line for line in read_rows(tmp_path / "out" / "mixes.jsonl")}
    assert list(mixes) == ["MIX_4.5bit", "MIX_800KiB", "MIX_5bit-head-Q8_0"]
    for name, mixed in mixes.items():
        assert gguf_file.read(files[name]).types == mixed["types"]
        uniform = mixed["uniform"]
        assert uniform["bits_per_weight"] <= mixed["bits_per_weight"] + 0.3
    _assert_measured(mixes["MIX_4.5bit"], files, calibration)
    head = gguf_file.read(files["MIX_4.5bit"])
    assert 4.2 < 8 * head.tensor_bytes / head.parameters <= 4.5
    assert 780 * 1024 < files["MIX_800KiB"].stat().st_size <= 800 * 1024
    assert gguf_file.read(files["MIX_5bit-head-Q8_0"]).types["output.weight"] == "Q8_0"
    assert gguf_file.read(files["Q4_0"]).metadata["quantize.imatrix.dataset"] == "tailored rows"
    assert files["Q4_0"].read_bytes() != files["Q4_0-plain"].read_bytes()
    _assert_stored_as_measured(files, calibration)


def _assert_measured(mixed: dict[str, Any], files: dict[str, Path], calibration: Calibration) -> None:
    """KL over the held-out answers by hand, from whole distributions of llama.cpp's."""
    import numpy as np

    from edgedistill.engines import llama

    found = []
    rows = list(calibration.part("held_out"))
    for file in (files["F16"], files["MIX_4.5bit"]):
        with llama.open_file(file, context=256) as engine:
            read = [engine.next_log_probs(ids)[begin - 1 : -1].astype(np.float64) for ids, begin in rows]
        found.append(np.concatenate(read))
    before, after = found
    assert mixed["positions"] == len(before) == sum(len(ids) - begin for ids, begin in rows)
    assert mixed["kl"] == pytest.approx(float((np.exp(before) * (before - after)).sum(1).mean()), rel=0.02, abs=2e-6)


def _assert_stored_as_measured(files: dict[str, Path], calibration: Calibration) -> None:
    """What `rounded` says a runtime will compute with is what stands in the files."""
    import numpy as np
    from gguf import GGUFReader, dequantize

    from edgedistill.ml.ggml_types import rounded

    importance = imatrix_file.read(calibration.imatrix)
    source = {tensor.name: tensor for tensor in GGUFReader(files["F16"]).tensors}
    for tensor in GGUFReader(files["MIX_4.5bit"]).tensors:
        if is_quantized(tensor.name, tuple(map(int, tensor.shape))):
            weight = np.asarray(source[tensor.name].data, np.float32)
            means = importance[tensor.name].means[0] if tensor.name in importance else None
            expected = rounded(weight, tensor.tensor_type.name, means)
            np.testing.assert_allclose(dequantize(tensor.data, tensor.tensor_type), expected, rtol=1e-5, atol=1e-7)


def test_what_needs_a_calibration_is_refused_without_one_and_nothing_is_left(calibration, tiny_llama, tmp_path):
    for quant in ("IQ2_XS", {"bits": 4.5}):
        with pytest.raises(UsageError, match=r"needs an importance matrix|tensors were not measured"):
            export(tmp_path / "out", tiny_llama, None, quant)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["model-f16.gguf"]
    with pytest.raises(UsageError, match=r"MIX_100KiB: the weights take .* in their lowest types"):
        export(tmp_path / "out", tiny_llama, calibration, {"fit": "100KiB"})


def test_running_text_serves_too_and_is_another_one_than_candidates_are_judged_on(tiny_llama, tmp_path):
    text = perplexity.open_text(TextConfig(), tmp_path, perplexity.FOR_CALIBRATION)
    judged = perplexity.open_text(TextConfig(), tmp_path)
    lines = set(text.documents()[0].splitlines()) & set(judged.documents()[0].splitlines())
    assert not {line for line in lines if len(line) > 20}
    made = run(tmp_path / "out", tiny_llama, text, config=CONFIG.model_copy(update={"rows": 3}))
    assert imatrix_file.about(made.imatrix).source == "calibration.txt"
    assert all(begin == 1 and len(ids) <= 256 for ids, begin in made.part("importance"))


def test_rows_that_are_all_too_long_are_an_error(tiny_llama, tailored, tmp_path):
    with pytest.raises(StageFailed, match=r"no row has 2 to 16 tokens"):
        run(tmp_path, tiny_llama, tailored, config=CalibrateConfig(max_tokens=16))


def test_a_file_that_came_out_larger_than_it_may_be_is_refused(calibration, tiny_llama, tmp_path, monkeypatch):
    """As if its metadata took ten KiB less than they do."""
    monkeypatch.setattr(quantized, "_METADATA_BYTES", -10 * 1024)
    with pytest.raises(IntegrityError, match=r"MIX_800KiB: the file has 8.* bytes, and may have 819,200"):
        export(tmp_path / "out", tiny_llama, calibration, {"fit": "800KiB"})
    assert not list((tmp_path / "out").glob("*mix*"))


def test_an_uneven_rival_is_among_those_that_a_mix_is_measured_against(calibration, tiny_llama, tmp_path):
    """At 3 bits the largest of llama.cpp's mixtures has types that no mix may have, and that no cost is known of."""
    source = export(tmp_path / "out", tiny_llama, calibration, "F16")["F16"]
    planned = quantized.plan(QuantEntry(bits=3.4), source, calibration)
    measured = calibration.sensitivity()
    assert None in [mix.cost(measured, rival.types) for rival in planned.rivals]
    shapes = gguf_file.read(source).shapes
    for rival in planned.rivals:
        assert bits_per_weight(shapes, rival.types) <= 3.4
