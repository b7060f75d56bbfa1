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


def test_a_name_says_that_a_file_was_not_weighed_only_where_it_could_have_been():
    """F16 and Q8_0 are the same file without an importance matrix, so listed beside themselves they are named twice."""
    assert names({"quant": "F16", "imatrix": False}, {"quant": "Q8_0", "imatrix": False}) == ["F16", "Q8_0"]
    weighed = {"quant": "Q8_0", "head": "Q4_K", "imatrix": False}
    assert names(weighed) == ["Q8_0-head-Q4_K-plain"]
    for quant in ("F16", "Q8_0"):
        with pytest.raises(ValueError, match="named twice"):
            names(quant, {"quant": quant, "imatrix": False})


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


def test_a_type_that_does_not_suit_the_rows_is_refused_where_llama_cpp_would_take_another():
    narrow = {"token_embd.weight": (64, 896), "blk.0.ffn_up.weight": (512, 896)}
    assert QuantEntry(quant="Q4_0", head="Q8_0").problems(narrow) == []
    refused = QuantEntry(quant="Q4_0", head="Q6_K").problems(narrow)
    assert refused == ["Q6_K takes rows of a multiple of 256, and these have 896"]
    assert "sets nothing" in QuantEntry(quant="Q4_0", embedding="Q4_0").problems(narrow)[0]
    assert "is no type of a mix" in QuantEntry(bits=6, head="Q5_1").problems(TIED)[0]


def test_a_size_below_that_of_the_lowest_types_is_refused():
    """Q2_K stores 256 numbers in 84 bytes: 5,376 for the embedding, 43,008 for the other; the vector has 1,024 as F32.
    8 x 49,408 bits for 147,712 numbers are 2.676 per weight."""
    assert QuantEntry(fit="49408KiB").problems(TIED) == []
    assert QuantEntry(fit="48.25KiB").problems(TIED) == []
    assert "49,408 bytes in their lowest types" in QuantEntry(fit="48.2KiB").problems(TIED)[0]
    assert QuantEntry(bits=2.7).problems(TIED) == []
    assert QuantEntry(bits=2.6).problems(TIED) == ["the lowest types take 2.68 bits per weight"]
    turned = {"transformer.h.0.attn.c_attn.weight": (768, 2304), "transformer.h.0.attn.bias": (1, 1, 1024, 1024)}
    assert QuantEntry(bits=2.7).problems(turned) == []  # rows of 768, and the mask is no weight
