from __future__ import annotations

import pytest

from edgedistill.exporters.gguf import Config
from edgedistill.quants import QuantEntry

TIED = {"token_embd.weight": (64, 256), "blk.0.ffn_up.weight": (512, 256), "output_norm.weight": (256,)}
UNTIED = {**TIED, "output.weight": (64, 256)}


def names(*quants: object) -> list[str]:
    return [quant.name for quant in Config.model_validate({"quants": quants}).quants]


def test_names_tell_candidates_apart():
    listed = ("Q4_K_M", {"quant": "Q4_K_M", "head": "Q8_0"}, {"quant": "Q4_K_M", "imatrix": False})
    assert names(*listed) == ["Q4_K_M", "Q4_K_M-head-Q8_0", "Q4_K_M-plain"]
    assert names({"fit": "42MiB"}, {"fit": "1.5 GiB"}, {"bits": 4.2}) == ["MIX_42MiB", "MIX_1.5GiB", "MIX_4.2bit"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"quant": "Q9"}, "no quantization named Q9; there are: F16"),
        ({"fit": "42"}, "`42` is no size; write it as 42MiB"),
        ({}, "give one of `quant`, `fit` and `bits`"),
        ({"fit": "42MiB", "bits": 4}, "give one of"),
        ({"bits": 0.5}, "greater than or equal to 1"),
        ({"quant": "Q4_0", "head": "Q9_K"}, "no type named Q9_K"),
        ({"quant": "F16", "head": "Q8_0"}, "F16 leaves every tensor as it is"),
        ({"quant": "IQ2_XS", "imatrix": False}, "cannot be made without an importance matrix"),
        ({"quant": "Q4_0", "imatrx": False}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused_when_the_recipe_is_read(entry, problem):
    with pytest.raises(ValueError, match=problem):
        names(entry)


def test_sizes_in_bytes():
    assert QuantEntry(fit="42MiB").most_bytes == 42 * 1024 * 1024
    assert QuantEntry(fit="1.5KiB").most_bytes == 1536
    assert QuantEntry(bits=4).most_bytes is None


def test_the_type_of_the_head_is_that_of_a_tied_embedding():
    entry = QuantEntry(quant="Q4_0", head="Q8_0")
    assert entry.types(TIED, has_importance=False)["token_embd.weight"] == "Q8_0"
    untied = entry.types(UNTIED, has_importance=False)
    assert (untied["token_embd.weight"], untied["output.weight"]) == ("Q4_0", "Q8_0")
    other = QuantEntry(quant="Q4_0", embedding="Q2_K").types(UNTIED, has_importance=False)
    assert (other["token_embd.weight"], other["output.weight"]) == ("Q2_K", "Q6_K")
    assert QuantEntry(quant="Q4_0", embedding="Q2_K").chosen(TIED) == {}  # it is the head


def test_a_calibration_is_asked_for_where_it_changes_a_file():
    assert not Config(quants=("F16", "BF16", "Q8_0")).needs_calibration
    assert not Config.model_validate({"quants": [{"quant": "Q4_0", "imatrix": False}]}).needs_calibration
    assert Config(quants=("Q4_0",)).needs_calibration and not Config(quants=("Q4_0",)).measures_tensors
    assert Config.model_validate({"quants": [{"bits": 4}]}).measures_tensors
