"""Log probabilities from a server that echoes token ids, as vLLM does: a small HTTP server around a real model.

It speaks the form of vLLM's completions API as its documentation has it; that vLLM itself answers so is not shown here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgedistill.echoed import likeliest, without_padding
from edgedistill.engine import Likeliest, open_engine
from edgedistill.errors import StageFailed
from edgedistill.files import read_rows
from edgedistill.methods import on_policy
from edgedistill.models import Model
from edgedistill.sections import ModelConfig, Requests
from edgedistill.tutors import Tutor

pytestmark = pytest.mark.slow

Answer = Callable[[dict[str, Any]], dict[str, Any]]
PROMPTS, ANSWERS = [[5, 6, 7], [8, 9, 10, 11]], [[12, 13], [14, 15, 16]]


class Served:
    """Answers by a function; keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say({"data": [{"id": "teacher"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.asked.append((self.path, body))
                self._say(answer(body))

            def _say(self, what: dict[str, Any]) -> None:
                content = json.dumps(what).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def model(self) -> Model:
        address = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        config = ModelConfig(model="teacher", engine="openai", base_url=address, requests=Requests(tries=1))
        return Model(Path("teacher"), "served", "openai", "teacher", server=config)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Served]]:
    made: list[Served] = []

    def start(answer: Answer) -> Served:
        made.append(Served(answer))
        return made[-1]

    yield start
    for one in made:
        one.http.shutdown()


@pytest.fixture
def echo(other_llama: Path) -> Answer:
    """What vLLM would say of a prompt of ids, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(other_llama, dtype=torch.float32).eval()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        ids = body["prompt"]
        with torch.no_grad():
            log_probs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        own = [None, *(log_probs[at - 1, token].item() for at, token in enumerate(ids) if at)]
        tops = [None, *(_top(log_probs[at - 1], body["logprobs"], ids[at]) for at in range(1, len(ids)))]
        tokens = [f"token_id:{token}" for token in ids]
        return {"choices": [{"logprobs": {"tokens": tokens, "token_logprobs": own, "top_logprobs": tops}}]}

    return answer


def _top(log_probs: Any, count: int, own: int) -> dict[str, float]:
    """The likeliest tokens, and the token that stands there, which vLLM adds."""
    found = log_probs.topk(count)
    pairs = {**dict(zip(found.indices.tolist(), found.values.tolist(), strict=True)), own: log_probs[own].item()}
    return {f"token_id:{token}": value for token, value in pairs.items()}


def test_a_server_says_what_the_model_would_say_here(
    serve: Callable[[Answer], Served], echo: Answer, other_llama: Path
) -> None:
    served = serve(echo)
    with open_engine(served.model) as remote, open_engine(Model(other_llama, "")) as here:
        found, expected = (engine.likeliest(PROMPTS, ANSWERS, 4) for engine in (remote, here))
    for one, other in zip(found, expected, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.log_probs.tolist() == [pytest.approx(row, abs=1e-3) for row in other.log_probs.tolist()]
        assert one.own.tolist() == pytest.approx(other.own.tolist(), abs=1e-3)
    path, body = served.asked[0]
    assert path == "/v1/completions"
    assert (body["echo"], body["max_tokens"], body["return_tokens_as_token_ids"]) == (True, 0, True)


def test_a_student_learns_from_a_teacher_on_a_server(
    serve: Callable[[Answer], Served], echo: Answer, tiny_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    """The first loss is the one that the same teacher gives when it is here."""
    rows = [(f"which is number {n}?", f"It is {n}.") for n in range(3)]
    config = on_policy.Config(learning_rate=1e-4, batch=3, max_answer_tokens=6, top_k=4)
    losses = []
    for name, teacher in (("served", serve(echo).model), ("here", Model(other_llama, "t"))):
        (tmp_path / name).mkdir()
        on_policy.train(tmp_path / name, rows, Model(tiny_llama, "s"), config, 0, [Tutor(teacher)])
        losses.append(next(read_rows(tmp_path / name / "curve.jsonl"))["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"choices": [{"text": "hello"}]}, "no `logprobs`"),
        ({"choices": [{"logprobs": None}]}, "no `logprobs`"),
        (
            {"choices": [{"logprobs": {"tokens": ["a"] * 5, "token_logprobs": [0.0] * 5, "top_logprobs": [{}] * 5}}]},
            "no token ids",
        ),
    ],
)
def test_a_server_that_echoes_nothing_of_the_kind_is_told(
    said: dict[str, Any], told: str, serve: Callable[[Answer], Served]
) -> None:
    with open_engine(serve(lambda body: said).model) as engine, pytest.raises(StageFailed, match=told) as raised:
        engine.likeliest(PROMPTS, ANSWERS, 4)
    assert "vLLM" in raised.value.hint


def test_a_server_that_tells_fewer_tokens_than_asked_is_told(serve: Callable[[Answer], Served], echo: Answer) -> None:
    served = serve(lambda body: echo({**body, "logprobs": 2}))
    with open_engine(served.model) as engine, pytest.raises(StageFailed, match="likeliest tokens where 4 were asked"):
        engine.likeliest(PROMPTS, ANSWERS, 4)


def test_minus_infinity_is_as_low_as_any_log_probability_can_be() -> None:
    """Servers write numbers of their own for it, e.g. -9999: they must not go into a mean."""
    told = {"tokens": ["token_id:5"], "token_logprobs": [-9999.0], "top_logprobs": [{"token_id:5": -9999.0}]}
    found = likeliest(told, [5], 1, "here")
    assert (found.own.tolist(), found.log_probs.tolist()) == ([-100.0], [[-100.0]])


def test_padding_becomes_other_tokens_of_the_place_without_probability() -> None:
    """V 4: tokens 5 and 6 stand for nothing. In the second row there is none."""
    import numpy as np

    ids = np.array([[5, 1, 6], [2, 0, 3]], dtype=np.int32)
    log_probs = np.log(np.array([[0.5, 0.3, 0.1], [0.6, 0.3, 0.1]], dtype=np.float32))
    found = without_padding(Likeliest(ids, log_probs, log_probs[:, 0]), 4)
    assert found.ids.tolist() == [[0, 1, 2], [2, 0, 3]]
    assert np.exp(found.log_probs).tolist() == [pytest.approx([0, 0.3, 0]), pytest.approx([0.6, 0.3, 0.1])]


def test_padding_is_replaced_row_by_row_as_a_slow_loop_would() -> None:
    import numpy as np

    random = np.random.default_rng(0)
    ids = np.stack([random.permutation(12)[:5] for _ in range(200)]).astype(np.int32)
    log_probs = np.zeros(ids.shape, dtype=np.float32)
    found = without_padding(Likeliest(ids, log_probs, log_probs[:, 0]), 7)
    for before, after, values in zip(ids.tolist(), found.ids.tolist(), found.log_probs.tolist(), strict=True):
        free = iter(token for token in range(7) if token not in before)
        assert after == [token if token < 7 else next(free) for token in before]
        assert values == [0.0 if token < 7 else -np.inf for token in before]


def test_a_training_that_broke_off_asks_for_nothing_twice(
    serve: Callable[[Answer], Served], echo: Answer, tiny_llama: Path, tmp_path: Path
) -> None:
    answered: list[Any] = []
    is_broken = True

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if is_broken and len(answered) == 2:
            return {}
        answered.append(tuple(body["prompt"]))
        return echo(body)

    served = serve(answer).model
    assert served.server
    one_at_a_time = served.server.model_copy(update={"requests": Requests(tries=1, at_once=1)})
    tutors = [Tutor(replace(served, server=one_at_a_time))]
    rows = [(f"which is number {n}?", f"It is {n}.") for n in range(3)]
    config = on_policy.Config(learning_rate=1e-4, batch=3, max_answer_tokens=6, top_k=4)
    with pytest.raises(StageFailed, match="no `logprobs`"):
        on_policy.train(tmp_path, rows, Model(tiny_llama, "s"), config, 0, tutors)
    is_broken = False
    on_policy.train(tmp_path, rows, Model(tiny_llama, "s"), config, 0, tutors)
    assert len(answered) == len(set(answered)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.jsonl", "model"]
