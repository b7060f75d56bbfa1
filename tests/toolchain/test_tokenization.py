from __future__ import annotations

import unicodedata

from edgedistill.toolchain import tokenization


def test_the_texts_are_composed_and_the_other_one_is_not():
    assert [text for text in tokenization.TEXTS if unicodedata.normalize("NFC", text) != text] == []
    assert unicodedata.normalize("NFC", tokenization.DECOMPOSED) != tokenization.DECOMPOSED


def test_one_name_per_rule_is_read_from_the_source_likely_ones_first(tmp_path):
    """Three branches: two names for one rule, of which the likely one is taken, and two more rules."""
    source = """
        } else if (tokenizer_pre == "default") {
            pre_type = A;
        } else if (
                tokenizer_pre == "phi-2" ||
                tokenizer_pre == "gpt-2") {
            pre_type = B;
        } else if (tokenizer_pre == "viking") {
            pre_type = C;
        } else { throw "unknown pre-tokenizer type: '%s'"; }
    """
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "llama-vocab.cpp").write_text(source)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert tokenization.splitting_rules(tmp_path, tmp_path) == ["gpt-2", "default", "viking"]


def test_a_tokenizer_that_splits_digits_gets_the_rule_that_does_first(tmp_path):
    (tmp_path / "src").mkdir()
    branches = "".join(f'if (tokenizer_pre == "{name}") {{ pre_type = A; }}' for name in ("default", "gpt-2", "smollm"))
    (tmp_path / "src" / "llama-vocab.cpp").write_text(branches + "unknown pre-tokenizer type")
    (tmp_path / "tokenizer.json").write_text('{"pre_tokenizer": {"type": "Digits",\n "individual_digits": true}}')
    assert tokenization.splitting_rules(tmp_path, tmp_path) == ["smollm", "gpt-2", "default"]


def test_a_vocabulary_that_llama_cpp_refuses_is_told_apart_from_a_text_that_ends_it(tmp_path):
    from gguf import GGUFWriter

    path = tmp_path / "refused.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("none that llama.cpp knows")
    writer.add_token_list(["a", "b"])
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.close):
        write()
    difference = tokenization.first_difference(path, {"a": [0], "b": [1]})
    assert str(difference) == "'a' (llama.cpp refuses the vocabulary)"
