"""llama.cpp on a file that the real exporter made, against torch on the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from edgedistill.differences import TIE_NATS
from edgedistill.engine import user
from edgedistill.engines import hf, llama
from edgedistill.errors import IntegrityError, UsageError
from edgedistill.models import Model
from edgedistill.toolchain.llama_cpp import cache_folder

SAID = [user(text) for text in ("hello", "turn off the light in the kitchen", "", "Grüße 🙂 你好", "yes " * 40)]


@pytest.fixture(scope="module")
def engine(tiny_candidates):
    with llama.open_file(tiny_candidates.path / "model-f16.gguf", context=512, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def torch_engine(tiny_llama):
    with hf.open_engine(Model(tiny_llama, "tiny")) as opened:
        yield opened


def test_prompt_and_ids_are_those_of_torch(engine, torch_engine):
    for messages in SAID:
        assert engine.render(messages) == torch_engine.render(messages)
        assert engine.token_ids(messages) == torch_engine.token_ids(messages)


def test_first_token_distribution_is_that_of_torch(engine, torch_engine):
    ours, theirs = engine.first_token_log_probs(SAID), torch_engine.first_token_log_probs(SAID)
    assert ours.shape == theirs.shape == (len(SAID), 320)
    assert np.abs(ours - theirs).max() < 0.1
    assert np.exp(ours).sum(axis=1) == pytest.approx(np.ones(len(SAID)), abs=1e-4)


def test_greedy_answers_are_those_of_torch_up_to_ties(engine, torch_engine):
    """16-bit rounding may turn a tie; from there on the answers are no longer of the same prompt."""
    expected, got = torch_engine.generate(SAID, max_tokens=12), engine.generate(SAID, max_tokens=12)
    assert sum(a == b for a, b in zip(expected, got, strict=True)) >= len(SAID) - 2
    for messages, a, b, ids in zip(SAID, expected, got, engine.answer_ids(SAID, max_tokens=12), strict=True):
        assert engine.text_of(ids) == b
        if a != b:
            best = np.sort(engine.step_log_probs(messages, ids), axis=1)
            assert (best[:, -1] - best[:, -2]).min() <= TIE_NATS


def test_a_batch_answers_like_single_conversations(engine):
    """Some share a beginning beyond the template's, so the copied cache is part of it."""
    said = [user(f"turn on the light in room {n}" + " please" * n) for n in range(1, 6)]
    batch, single = engine.first_token_log_probs(said), [engine.first_token_log_probs([one])[0] for one in said]
    assert np.abs(batch - np.stack(single)).max() < 0.05
    texts = engine.generate(said, max_tokens=6)
    assert sum(text == engine.generate([one], max_tokens=6)[0] for text, one in zip(texts, said, strict=True)) >= 4


def test_more_conversations_than_sequences(engine, monkeypatch):
    monkeypatch.setattr(llama, "SIDE_BY_SIDE", 2)
    done: list[int] = []
    few = engine.generate(SAID, max_tokens=4, on_done=done.append)
    assert sum(done) == len(SAID)
    monkeypatch.setattr(llama, "SIDE_BY_SIDE", 32)
    rows = engine.first_token_log_probs(SAID)
    assert len(few) == len(rows) == len(SAID)


def test_step_log_probs_go_on_from_the_first_token(engine):
    ids = engine.answer_ids(SAID[1:2], max_tokens=5)[0]
    rows = engine.step_log_probs(SAID[1], ids)
    assert rows.shape == (6, 320)
    assert sum(a == b for a, b in zip(rows.argmax(axis=1)[:5].tolist(), ids, strict=True)) >= 4
    assert np.abs(rows[0] - engine.first_token_log_probs(SAID[1:2])[0]).max() < 0.01


def test_answer_log_probs_are_those_of_torch(engine, torch_engine):
    """Prompts that share an example, options that share a prompt, one prompt alone; 16-bit weights and cache."""
    head = "Question: Turn on the radio.\nAnswer: Let's think step by step. <ans>radio</ans>\n\n" * 3
    prompts = [user(f"{head}Question: room {n}" + " please" * n) for n in range(12)]
    asked = [(prompt, answer) for prompt in prompts for answer in ("<ans>yes</ans>", "no, not at all", "a")]
    asked += [(user("hello"), "<ans>12</ans>"), (user("hello"), "")]
    done: list[int] = []
    found = engine.answer_log_probs(*map(list, zip(*asked, strict=True)), on_done=done.append)
    expected = torch_engine.answer_log_probs(*map(list, zip(*asked, strict=True)))
    assert sum(done) == len(asked) and found[-1] == []
    assert list(map(len, found)) == list(map(len, expected))
    assert np.abs(np.concatenate(found) - np.concatenate(expected)).max() < 0.1


def test_answer_log_probs_are_the_rows_of_the_steps(engine):
    """More options than are scored together, each against the distribution after the same tokens, alone."""
    answers = [f"<ans>{n}</ans>" for n in range(70)]
    found = engine.answer_log_probs([SAID[1]] * 70, answers)
    for number in (0, 63, 64, 69):
        ids = engine._weights.tokenize(answers[number], add_special=False)
        rows = engine.step_log_probs(SAID[1], ids)
        assert found[number] == pytest.approx([float(rows[place, ids[place]]) for place in range(len(ids))], abs=0.02)


def test_the_likeliest_tokens_are_those_of_torch(engine, torch_engine):
    """16-bit weights: values within what that costs, and the same first token."""
    prompts = [engine.token_ids(said) for said in SAID[:2]]
    answers = [[40, 41, 42], [43]]
    found, expected = (one.likeliest(prompts, answers, 4) for one in (engine, torch_engine))
    for one, other in zip(found, expected, strict=True):
        assert one.ids.shape == other.ids.shape and one.ids.dtype == np.int32
        assert np.abs(one.log_probs - other.log_probs).max() < 0.1
        assert np.abs(one.own - other.own).max() < 0.1
    whole = [one.likeliest(prompts[:1], answers[:1], 10**9, vocabulary=60)[0] for one in (engine, torch_engine)]
    assert [one.ids.tolist() for one in whole] == [[list(range(60))] * 3] * 2
    assert np.abs(whole[0].log_probs - whole[1].log_probs).max() < 0.1


def test_a_tiny_nucleus_is_greedy(engine):
    greedy = engine.generate(SAID, max_tokens=6)
    assert engine.generate(SAID, max_tokens=6, temperature=1.0, top_p=1e-6, seed=1) == greedy


def test_drafts_of_one_call_share_their_own_beginnings(engine):
    """Two long examples, each before twelve questions: the answers are those of the questions asked alone."""
    heads = [f"Example: {word} on the {word} light, and {word} again. " * 4 for word in ("turn", "dim")]
    said = [user(f"{head}Question {n}?") for head in heads for n in range(12)]
    texts = engine.generate(said, max_tokens=6)
    assert sum(text == engine.generate([one], max_tokens=6)[0] for text, one in zip(texts, said, strict=True)) >= 21


def test_sampling_repeats_with_its_seed_only(engine):
    asked = dict(max_tokens=12, temperature=1.5)
    assert engine.generate(SAID, seed=3, **asked) == engine.generate(SAID, seed=3, **asked)
    assert engine.generate(SAID, seed=3, **asked) != engine.generate(SAID, seed=4, **asked)


def test_an_answer_ends_with_the_stop_text(engine):
    whole = engine.generate(SAID[1:2], max_tokens=12)[0]
    stop = whole[2]
    assert engine.generate(SAID[1:2], max_tokens=12, stop=stop) == [whole[: whole.index(stop) + 1]]


def test_a_prompt_that_does_not_fit_is_refused(engine):
    with pytest.raises(UsageError, match="does not fit into a context of 512"):
        engine.generate([user("x" * 4000)], max_tokens=4)


def test_no_conversations_no_answers(engine):
    assert engine.generate([], max_tokens=4) == []
    assert engine.first_token_log_probs([]).shape == (0, 320)


def test_a_broken_file_is_refused_with_its_name(tmp_path, tiny_candidates):
    whole = (tiny_candidates.path / "model-f16.gguf").read_bytes()
    for name, content in (("cut.gguf", whole[: len(whole) // 2]), ("text.gguf", b"not a model")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(IntegrityError, match=f"{name} is not a whole GGUF file"):
            llama.open_file(tmp_path / name, context=64)
    with pytest.raises(UsageError, match="does not exist"):
        llama.open_file(tmp_path / "nowhere.gguf", context=64)


def test_a_folder_with_one_gguf_file_is_that_file(tmp_path, tiny_candidates):
    (tmp_path / "model.gguf").symlink_to(tiny_candidates.path / "model-q8_0.gguf")
    with llama.open_engine(Model(tmp_path, "x", engine="llama")) as opened:
        assert len(opened.generate(SAID[:1], max_tokens=2)) == 1
    (tmp_path / "second.gguf").symlink_to(tiny_candidates.path / "model-f16.gguf")
    with pytest.raises(UsageError, match=r"needs one GGUF file, .* has 2"):
        llama.open_engine(Model(tmp_path, "x", engine="llama"))


def test_a_folder_in_hugging_face_layout_is_exported_once(tmp_path, monkeypatch, tiny_llama, engine):
    kept = cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "edgedistill").mkdir()
    for folder in kept.glob("llama.cpp-*"):
        (tmp_path / "edgedistill" / folder.name).symlink_to(folder)
    with llama.open_engine(Model(tiny_llama, "x", engine="llama")) as opened:
        assert opened.context == 1024, "what config.json says"
        assert opened.generate(SAID[:2], max_tokens=6) == engine.generate(SAID[:2], max_tokens=6)
        file = opened.path
    made = file.stat()
    llama.open_engine(Model(tiny_llama, "x", engine="llama")).close()
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".lock"] == [file.name]
    assert file.stat().st_mtime_ns == made.st_mtime_ns


def test_the_template_is_the_one_in_the_file(tiny_candidates, edited_gguf):
    """Not one that llama.cpp knows by its looks. The file says that BOS is added, so it is: once."""
    source = tiny_candidates.path / "model-f16.gguf"
    file = edited_gguf(source, template="{{ messages[0]['content'] | upper }}!", adds_bos=True)
    with llama.open_file(file, context=64) as opened:
        assert opened.render(user("hello")) == "HELLO!"
        ids = opened.token_ids(user("hello"))
    file = edited_gguf(source, template="{{ bos_token }}{{ messages[0]['content'] | upper }}!", adds_bos=True)
    with llama.open_file(file, context=64) as opened:
        assert opened.token_ids(user("hello")) == ids
