"""The `hf` engine against transformers' own `generate`, on small random models of three architectures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedistill.engine import Messages, open_engine, user
from edgedistill.engines.hf import HfEngine
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_json
from edgedistill.models import Model

torch = pytest.importorskip("torch")

QUESTIONS = ("Is it true?", "Turn off the light in the living room, please.", "what is the weather", "a", "yes yes")
EXAMPLE = "Question: Turn on the radio.\nAnswer: Let's think step by step. It is radio. <ans>radio</ans>\n\n" * 3


@pytest.fixture(scope="module", params=["tiny_llama", "tiny_qwen2", "tiny_gemma", "windowed_gemma2", "untied_gpt2"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(scope="module")
def windowed_gemma2(tiny_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 2: soft caps, and a window of 16 tokens that every prompt here exceeds."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = _tokenizer_of(tiny_gemma, tmp_path_factory.mktemp("gemma2"))
    ids = {key: read_json(tiny_gemma / "config.json")[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(7)
    config = Gemma2Config(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, sliding_window=16, attn_logit_softcapping=5.0, initializer_range=0.3,
        tie_word_embeddings=False, **ids,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def untied_gpt2(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2: learned positions instead of rotary ones."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = _tokenizer_of(tiny_qwen2, tmp_path_factory.mktemp("gpt2"))
    torch.manual_seed(8)
    end = read_json(tiny_qwen2 / "config.json")["eos_token_id"]
    config = GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=4, eos_token_id=end, tie_word_embeddings=False)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def _tokenizer_of(source: Path, target: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, target / name)
    return target


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[HfEngine]:
    with open_engine(Model(folder, "tiny")) as opened:
        assert isinstance(opened, HfEngine)
        yield opened


def _generated(folder: Path, conversation: Messages, max_tokens: int) -> tuple[str, list[int]]:
    """transformers' greedy text for one conversation, alone in its batch."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rendered = tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, return_tensors="pt")
    ids = rendered["input_ids"]
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True), ids[0].tolist()


def test_greedy_text_and_ids_equal_those_of_generate(engine: HfEngine, folder: Path) -> None:
    conversations = [user(question) for question in QUESTIONS]
    texts = engine.generate(conversations, max_tokens=24)
    for conversation, text in zip(conversations, texts, strict=True):
        expected, ids = _generated(folder, conversation, 24)
        assert engine.token_ids(conversation) == ids
        assert text == expected


def test_shared_prefixes_change_no_greedy_text(engine: HfEngine, folder: Path) -> None:
    """Two examples, each before every question, five times: prefixes are shared. Each conversation alone: none is."""
    heads = (EXAMPLE, EXAMPLE.replace("radio", "lamp"))
    conversations = [user(f"{head}Question: {q}\nAnswer:") for head in heads for q in QUESTIONS * 5]
    groups = engine.decoder._groups(engine._ids(conversations))
    assert sum(group.shared > 40 for group in groups) == 2
    together = engine.generate(conversations, max_tokens=16)
    for index in (0, 3, 26, 49):
        assert together[index] == _generated(folder, conversations[index], 16)[0]
    assert together[:5] == together[5:10]
    assert together == [engine.generate([conversation], max_tokens=16)[0] for conversation in conversations]


def test_rows_do_not_depend_on_what_fits_into_a_batch(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgedistill.ml.decode import Limits

    conversations = [user(f"{EXAMPLE}Question: {q} {n}") for n in range(6) for q in QUESTIONS]
    wide = engine.generate(conversations, max_tokens=12)
    monkeypatch.setattr(engine.decoder, "limits", Limits(rows=7, tokens=50, cache_bytes=1 << 30))
    assert engine.generate(conversations, max_tokens=12) == wide


def test_sampling_depends_on_seed_and_index_but_not_on_neighbors(engine: HfEngine) -> None:
    conversations = [user(question) for question in QUESTIONS]
    texts = engine.generate(conversations, max_tokens=12, temperature=1.0, seed=3)
    assert texts == engine.generate(conversations, max_tokens=12, temperature=1.0, seed=3)
    assert texts != engine.generate(conversations, max_tokens=12, temperature=1.0, seed=4)
    others = [*conversations[:3], *(user(f"other {n}") for n in range(9))]
    assert texts[:3] == engine.generate(others, max_tokens=12, temperature=1.0, seed=3)[:3]
    same = engine.generate([conversations[0]] * 6, max_tokens=12, temperature=1.0, seed=3)
    assert len(set(same)) > 1, "equal prompts must get different answers"


def test_sampled_first_tokens_follow_the_probabilities(tiny_llama: Path) -> None:
    """4,000 draws of one token: observed shares within 4 standard errors of softmax(logits / 0.7), per token."""
    with open_engine(Model(tiny_llama, "tiny")) as engine:
        assert isinstance(engine, HfEngine)
        prompt = engine.token_ids(user("a"))
        expected = (engine.decoder.first_token_logits([prompt])[0] / 0.7).softmax(0)
        from edgedistill.ml.decode import _Picker

        picker = _Picker(range(4000), 1, 0.7, 5, torch.device("cpu"))
        drawn = picker.pick(engine.decoder.first_token_logits([prompt]).expand(4000, -1), 0)
    shares = torch.bincount(drawn, minlength=len(expected)) / 4000
    errors = (expected * (1 - expected) / 4000).sqrt()
    assert bool(((shares - expected).abs() <= 4 * errors + 1 / 4000).all())


def test_a_nucleus_is_the_fewest_likeliest_tokens_that_reach_it() -> None:
    """0.5 + 0.3 reach 0.8; 0.7 needs both too; at 0.05 the likeliest is left, and of equals the first."""
    from edgedistill.ml.decode import nucleus

    probs = torch.tensor([[0.1, 0.5, 0.1, 0.3], [0.25, 0.25, 0.25, 0.25]])
    for top_p, expected in (
        (0.8, [[0, 0.5, 0, 0.3], [0.25, 0.25, 0.25, 0.25]]),
        (0.7, [[0, 0.5, 0, 0.3], [0.25, 0.25, 0.25, 0]]),
        (0.05, [[0, 0.5, 0, 0], [0.25, 0, 0, 0]]),
        (1.0, [[0.1, 0.5, 0.1, 0.3], [0.25] * 4]),
    ):
        found = nucleus(probs, top_p)
        assert found.tolist() == [pytest.approx(row) for row in expected], top_p


def test_a_tiny_nucleus_is_greedy(tiny_llama: Path) -> None:
    with open_engine(Model(tiny_llama, "tiny")) as engine:
        asked = [user("a"), user("b")]
        greedy = engine.generate(asked, max_tokens=10)
        assert engine.generate(asked, max_tokens=10, temperature=1.0, top_p=1e-6, seed=3) == greedy
        assert engine.generate(asked, max_tokens=10, temperature=1.0, seed=3) != greedy


def test_the_likeliest_tokens_are_those_of_a_plain_forward_pass(tiny_llama: Path) -> None:
    """Prompts of unequal length, one of them with two answers; with the whole vocabulary nothing is left out."""
    prompts, answers = [[5, 6, 7, 8], [9], [5, 6, 7, 8]], [[10, 11], [12, 13, 14], [15]]
    with open_engine(Model(tiny_llama, "tiny")) as engine:
        assert isinstance(engine, HfEngine)
        done: list[int] = []
        found = engine.likeliest(prompts, answers, 3, on_done=done.append)
        whole = engine.likeliest(prompts, answers, 10**9)
        for prompt, answer, few, all_of_it in zip(prompts, answers, found, whole, strict=True):
            expected = _log_probs(tiny_llama, [*prompt, *answer])[len(prompt) - 1 : -1]
            top = expected.topk(3)
            assert few.ids.tolist() == top.indices.tolist()
            assert few.log_probs.tolist() == [pytest.approx(row, abs=1e-4) for row in top.values.tolist()]
            own = [expected[at, token].item() for at, token in enumerate(answer)]
            assert few.own.tolist() == pytest.approx(own, abs=1e-4)
            assert all_of_it.ids.tolist() == [list(range(expected.shape[1]))] * len(answer)
            assert all_of_it.log_probs.tolist() == [pytest.approx(row, abs=1e-4) for row in expected.tolist()]
    assert sum(done) == 3


def test_ids_that_are_padding_never_come_up_and_the_others_share_their_probability(tiny_llama: Path) -> None:
    """As if the embedding had 50 rows: softmax over these alone, also where all of them are asked for."""
    prompt, answer = [5, 6, 7], [10, 11]
    expected = _log_probs(tiny_llama, [*prompt, *answer])[2:4, :50].log_softmax(-1)
    with open_engine(Model(tiny_llama, "tiny")) as engine:
        (few,) = engine.likeliest([prompt], [answer], 3, vocabulary=50)
        (whole,) = engine.likeliest([prompt], [answer], 10**9, vocabulary=50)
    assert few.ids.tolist() == expected.topk(3).indices.tolist()
    assert few.own.tolist() == pytest.approx([expected[0, 10].item(), expected[1, 11].item()], abs=1e-4)
    assert whole.log_probs.tolist() == [pytest.approx(row, abs=1e-4) for row in expected.tolist()]
    assert torch.tensor(whole.log_probs).exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)


def _log_probs(folder: Path, ids: list[int]) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def test_a_stop_text_ends_the_answer_and_is_part_of_it(engine: HfEngine) -> None:
    conversations = [user(question) for question in QUESTIONS * 4]
    full = engine.generate(conversations, max_tokens=24)
    stop = next(text[8:10] for text in full if len(text) > 12 and text[8:10].isascii())
    cut = engine.generate(conversations, max_tokens=24, stop=stop)
    assert cut == [text.partition(stop)[0] + stop if stop in text else text for text in full]


def test_every_answer_is_reported_once(engine: HfEngine) -> None:
    done: list[int] = []
    engine.generate([user(f"{q} {n}") for n in range(5) for q in QUESTIONS], max_tokens=20, on_done=done.append)
    assert sum(done) == 25
    assert engine.generate([], max_tokens=5) == []


def test_an_answer_ends_where_the_context_does(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context 3 tokens longer than the prompt: only 3 tokens are answered. A prompt longer than it is refused."""
    full = engine.generate([user("a")], max_tokens=8)[0]
    monkeypatch.setattr(engine.decoder, "context", len(engine.token_ids(user("a"))) + 3)
    cut = engine.generate([user("a")], max_tokens=8)[0]
    assert full.startswith(cut) and cut == engine.generate([user("a")], max_tokens=3)[0]
    with pytest.raises(UsageError, match=r"a prompt has .* tokens, the context"):
        engine.generate([user("a " * 50)], max_tokens=8)


def test_first_token_log_probs_equal_the_models(engine: HfEngine, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    conversations = [user(f"{EXAMPLE}Question: {q}") for q in QUESTIONS]
    found = engine.first_token_log_probs(conversations)
    assert found.shape == (5, 320)
    for conversation, row in zip(conversations, found, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([engine.token_ids(conversation)])).logits[0, -1]
        assert float((torch.tensor(row) - logits.log_softmax(0)).abs().max()) < 1e-4


def test_steps_and_answer_ids_are_those_of_the_greedy_answer(engine: HfEngine) -> None:
    """The first step is the first token's distribution, and each answer token is the likeliest of its step."""
    said = [user(question) for question in QUESTIONS]
    answers = engine.answer_ids(said, max_tokens=8)
    assert [engine.text_of(answer) for answer in answers] == engine.generate(said, max_tokens=8)
    first = engine.first_token_log_probs(said)
    for row, (messages, answer) in enumerate(zip(said, answers, strict=True)):
        steps = engine.step_log_probs(messages, answer)
        assert steps.shape == (len(answer) + 1, first.shape[1])
        assert abs(steps[0] - first[row]).max() < 1e-4
        assert steps[: len(answer)].argmax(axis=1).tolist() == answer


def test_a_model_with_recurrent_state_is_refused_with_the_reason(tiny_qwen2: Path, tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    folder = _tokenizer_of(tiny_qwen2, tmp_path)
    config = MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2, state_size=4)
    MambaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(UsageError, match=r"cannot decode .* MambaForCausalLM"):
        open_engine(Model(folder, "mamba"))


def test_pickle_weights_are_never_loaded(tiny_qwen2: Path, tmp_path: Path) -> None:
    """models.check refuses such a folder first; the engine itself does not read it either."""
    folder = _tokenizer_of(tiny_qwen2, tmp_path)
    write_json(folder / "config.json", read_json(tiny_qwen2 / "config.json"))
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        open_engine(Model(folder, "pickle"))


def test_pickle_weights_beside_safetensors_are_not_read(tiny_qwen2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(tiny_qwen2, folder)
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with open_engine(Model(folder, "both")) as opened:
        assert len(opened.generate([user("hi")], max_tokens=2)) == 1


def test_answer_log_probs_equal_those_of_a_plain_forward_pass(engine: HfEngine, folder: Path) -> None:
    """Every full text alone through transformers, against prompts that share an example, and answers that share a
    prompt: three options of different lengths, one of a single token, one of none."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    heads = (EXAMPLE, EXAMPLE.replace("radio", "lamp"))
    prompts = [user(f"{head}Question: {q} {n}\nAnswer:") for head in heads for n in range(4) for q in QUESTIONS]
    asked = [(prompt, answer) for prompt in prompts for answer in ("<ans>yes</ans>", " no, it is the lamp", "a", "")]
    asked += [(user("alone"), "<ans>12</ans>")]
    done: list[int] = []
    found = engine.answer_log_probs(*map(list, zip(*asked, strict=True)), on_done=done.append)
    assert sum(done) == len(asked)
    for (prompt, answer), values in zip(asked, found, strict=True):
        ids = engine.decoder.tokenizer(answer, add_special_tokens=False)["input_ids"]
        whole = [*engine.token_ids(prompt), *ids]
        with torch.inference_mode():
            log_probs = model(torch.tensor([whole])).logits[0].log_softmax(dim=1)
        begin = len(whole) - len(ids)
        expected = [float(log_probs[place - 1, whole[place]]) for place in range(begin, len(whole))]
        assert values == pytest.approx(expected, abs=2e-4)


def test_answer_log_probs_do_not_depend_on_what_fits_into_a_pass(
    engine: HfEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgedistill.ml.decode import Limits

    asked = [user(f"{EXAMPLE}Question: {q}") for q in QUESTIONS for _ in range(2)]
    answers = ["yes", "<ans>no</ans>"] * len(QUESTIONS)
    wide = engine.answer_log_probs(asked, answers)
    monkeypatch.setattr(engine.decoder, "limits", Limits(rows=7, tokens=30, cache_bytes=1 << 30))
    for one, other in zip(engine.answer_log_probs(asked, answers), wide, strict=True):
        assert one == pytest.approx(other, abs=2e-4)
    assert engine.answer_log_probs([], []) == []


def test_an_answer_beyond_the_context_is_refused(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.decoder, "context", len(engine.token_ids(user("a"))) + 3)
    assert len(engine.answer_log_probs([user("a")], ["zqx"])[0]) == 3
    with pytest.raises(UsageError, match=r"a prompt has .* tokens, the context"):
        engine.answer_log_probs([user("a")], ["zqxzqx"])
